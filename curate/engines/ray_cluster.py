"""`ray`: tasks on a Ray cluster, or on a Ray of its own on this machine. Ray schedules, retries and spills."""

from __future__ import annotations

import importlib
import pickle
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from curate.artifact import cache_dir, home
from curate.engines.cores import become_worker, cores
from curate.engines.local import apply_pickled
from curate.engines.ray_connection import connect_to_ray
from curate.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
_RETRIES = 5  # of a block whose worker or node died
_AHEAD = 2  # blocks in flight for each core of the cluster
LESS_MEMORY = "Start Ray with fewer --num-cpus on that node, or remove very long rows."
_SHARED = "Put $ROWPICK_HOME, and models that are folders, on a file system that every node mounts at the same path."


class RayEngine:
    """Maps by Ray tasks. Blocks are places in files that every node must see; results come back through Ray's store."""

    name = "ray"

    def __init__(self, address: str | None = None, block_cells: int = 4, workers: int | None = None) -> None:
        self.block_cells = block_cells
        ray = self._ray = connect_to_ray("--engine ray", address, workers or cores(), {"OMP_NUM_THREADS": "1"})
        try:
            self._cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
            self._work = ray.remote(max_retries=_RETRIES)(_work)
            self._check_nodes()
        except BaseException:
            ray.shutdown()
            raise

    def map(self, step: Callable[[T], R], blocks: Sequence[T], *, heavy: bool = False) -> Iterator[R]:
        """Yield `step(block)` for every block, in order; Ray does those of a dead worker or node again."""
        payload = self._ray.put(pickle.dumps(step))
        waiting: deque[Any] = deque()
        done = 0
        for block in blocks:
            waiting.append(self._work.remote(payload, block))
            if len(waiting) > _AHEAD * self._cores:
                done += 1
                yield self._result(waiting.popleft(), step, done, len(blocks))
        while waiting:
            done += 1
            yield self._result(waiting.popleft(), step, done, len(blocks))

    def require_path(self, path: str) -> None:
        """Raise a `UserError` where a node does not see what stands at `path` here."""
        for node, answer in self._on_every_node(_sees, path):
            if not answer:
                raise UserError(f"The node {node} does not see {path}, which only this machine has.", _SHARED)

    def rest(self) -> None:
        """Ray ends its idle workers by itself."""

    def close(self) -> None:
        """Leave the cluster; a Ray that was started for this engine ends."""
        self._ray.shutdown()

    def _check_nodes(self) -> None:
        """Every node must have this Rowpick, and see the folder of artifacts."""
        mine = _version()
        with tempfile.NamedTemporaryFile(prefix=".seen-", dir=cache_dir("pools")) as mark:
            for node, (version, sees) in self._on_every_node(_look, mark.name):
                if version != mine:
                    raise UserError(
                        f"The node {node} has Rowpick {version}, this machine has {mine}.",
                        f"Install rowpick=={mine} on every node.",
                    )
                if not sees:
                    raise UserError(f"The node {node} does not see {home().absolute()}.", _SHARED)

    def _on_every_node(self, job: Callable[[str], Any], path: str) -> list[tuple[str, Any]]:
        affinity = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        ask = self._ray.remote(num_cpus=0)(job)
        asked = [ask.options(scheduling_strategy=affinity(node["NodeID"], soft=False)).remote(path) for node in nodes]
        answers: list[tuple[str, Any]] = []
        for node, reference in zip(nodes, asked, strict=True):
            name = str(node["NodeManagerAddress"])
            with suppress(self._ray.exceptions.TaskUnschedulableError):  # lost since: nothing will run there
                answers.append((name, self._got(reference, f"on the node {name}")))
        return answers

    def _result(self, reference: Any, step: Any, number: int, of: int) -> Any:
        advice = getattr(step, "advice", LESS_MEMORY)
        return self._got(reference, f"on block {number} of {of} ({type(step).__name__})", advice)

    def _got(self, reference: Any, where: str, advice: str = LESS_MEMORY) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, UserError):
                raise cause from None
            if isinstance(cause, ModuleNotFoundError):
                raise UserError(f"Rowpick cannot be loaded {where} ({cause}).", "Install it on every node.") from None
            if isinstance(cause, FileNotFoundError):
                raise UserError(f"A worker does not see {cause.filename} {where}.", _SHARED) from None
            raise
        except errors.OutOfMemoryError:
            raise UserError(f"A Ray worker ran out of memory {where}, {_RETRIES + 1} times.", advice) from None
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError) as error:
            raise UserError(
                f"Ray workers kept dying {where} ({type(error).__name__}).",
                "Look at `ray status` and its memory.",
            ) from None


def _version() -> str:
    try:
        return metadata.version("rowpick")
    except metadata.PackageNotFoundError:  # a checkout on the path
        return "not installed"


def _sees(path: str) -> bool:
    return Path(path).exists()


def _look(path: str) -> tuple[str, bool]:
    return _version(), Path(path).exists()


def _work(step: bytes, block: Any) -> Any:
    become_worker()
    return apply_pickled(step, block)
