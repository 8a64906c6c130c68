"""A study's cells as Ray tasks, each with its share of a GPU. Ray places them, and does those of a lost node again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from curate.console import say
from curate.engines import connect_to_ray
from curate.errors import UsageError, did_you_mean
from evaluate_suite.study.cells_at_once import AUTO, cells_at_once
from evaluate_suite.study.runner import Cell, Failed, Runner, Work, Workers, attempt
from finetune.config import RunConfig

RUNNERS = ("local", "ray")
RETRIES = 1  # of a cell whose node was lost; what it had trained goes on from its checkpoint


def choose_runner(
    name: str, workers: str, ray_address: str | None, gpu_share: float | None, recipe: RunConfig
) -> Runner | None:
    """Return who makes a study's cells; None for this process, one after the other.

    `gpu_share` is what of a GPU a cell takes; None: as the workers share them, or none where there is no GPU.
    """
    if name not in RUNNERS:
        raise UsageError(f'--runner is "{name}".', did_you_mean(name, RUNNERS))
    if gpu_share is not None and not gpu_share >= 0:
        raise UsageError(f"--gpu-share is {gpu_share:g}; it must be 0 or more.", "0.5 lets two cells share a GPU.")
    if name != "ray" and ray_address is not None:
        raise UsageError("--ray-address is for --runner ray.", "Leave it out, or add --runner ray.")
    at_once = cells_at_once(workers, recipe)
    if name == "ray":
        if gpu_share is None and workers == AUTO and at_once.each > 1:
            gpu_share = 1 / at_once.each
        return OnRay(ray_address, gpu_share if recipe.device != "cpu" else 0.0, at_once.total)
    if at_once.total == 1:
        return None
    if workers == AUTO:
        say(f"{at_once.total} cells at once: {at_once.why}.")
    return Workers(at_once.total)


class OnRay:
    """Tasks on the cluster at `address`, or on a Ray of this machine with room for `workers`; `share` of a GPU each.

    All nodes see the folder of artifacts at the same path: that is where cells find what others made.
    """

    def __init__(self, address: str | None, share: float | None, workers: int = 1) -> None:
        ray = self.ray = connect_to_ray("--runner ray", address, workers, {"PYTHONPATH": _paths()})
        self.share = share if share is not None else float(ray.cluster_resources().get("GPU", 0) > 0)

    def run(self, work: Work, cells: Sequence[Cell], names: Sequence[str]) -> list[Any | Failed]:
        """See `Runner`."""
        ray = self.ray
        task = ray.remote(num_cpus=1, num_gpus=self.share, max_retries=RETRIES)(_attempt_in)
        waiting = {task.remote(str(Path.cwd()), work, cell): number for number, cell in enumerate(cells)}
        outcomes: list[Any | Failed] = [Failed("it was never begun")] * len(cells)
        done = 0
        while waiting:
            with redirect_stdout(sys.stderr):  # where Ray tells which tasks it does again
                (reference, *_), _ = ray.wait(list(waiting), num_returns=1)
            number = waiting.pop(reference)
            try:
                outcomes[number] = ray.get(reference)
            except ray.exceptions.RayError as error:  # the node, the worker or its memory
                outcomes[number] = Failed(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            done += 1
            say(f"{done} of {len(cells)} done: {names[number]}")
        return outcomes

    def end(self) -> None:
        """See `Runner`: the cluster stays as it is."""


def _attempt_in(folder: str, work: Work, cell: Cell) -> Any | Failed:
    """Do one cell where the study was started: paths in it may be relative."""
    if not Path(folder).is_dir():
        return Failed(f"its node does not see {folder}: start the study in a folder that all nodes share")
    os.chdir(folder)
    return attempt(work, cell)


def _paths() -> str:
    """Where this process finds Rowpick, for workers of this machine that were started elsewhere."""
    own = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH", "")])])
