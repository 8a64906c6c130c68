"""`local`: processes of this machine, forked when there is more than a handful of blocks."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from curate.engines.cores import become_worker, cores
from curate.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
FEW_BLOCKS = 3  # up to so many are not worth a process
_DEATHS = 3  # in a row, until a block is given up
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_AHEAD = 3  # blocks a worker has waiting, so that it never does and results do not pile up


class LocalEngine:
    """Maps in this process where the blocks are few, else in as many worker processes as there are cores.

    Workers are forked where the system can, so that what is loaded already (tokenizer, encoder) is shared with them.
    """

    name = "local"

    def __init__(self, workers: int | None = None, block_cells: int = 1, few_blocks: int = FEW_BLOCKS) -> None:
        self.workers = workers or cores()
        self.block_cells = block_cells
        self.few_blocks = few_blocks
        self._pool: ProcessPoolExecutor | None = None

    def map(self, step: Callable[[T], R], blocks: Sequence[T], *, heavy: bool = False) -> Iterator[R]:
        """Yield `step(block)` for every block, in order; a worker that dies is replaced and its blocks done again."""
        if self.workers == 1 or len(blocks) <= (min(self.few_blocks, 1) if heavy else self.few_blocks):
            for block in blocks:
                with threadpool_limits(1):
                    result = step(block)
                yield result
            return
        done = deaths = 0
        while done < len(blocks):
            try:
                for result in self._run(pickle.dumps(step), blocks[done:]):
                    yield result
                    done, deaths = done + 1, 0
            except BrokenProcessPool:
                self.rest()
                deaths += 1
                if deaths >= _DEATHS:
                    raise UserError(
                        f"A worker died {_DEATHS} times on block {done + 1} of {len(blocks)} ({type(step).__name__}); "
                        "most often it ran out of memory.",
                        getattr(step, "advice", "Free memory, or remove very long rows."),
                    ) from None

    def require_path(self, path: str) -> None:
        """All processes of one machine see what this one sees."""

    def rest(self) -> None:
        """End the workers; a later `map` starts others."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def close(self) -> None:
        """End the workers."""
        self.rest()

    def _run(self, step: bytes, blocks: Sequence[Any]) -> Iterator[Any]:
        if self._pool is None:
            context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
            gc.collect()
            gc.freeze()  # a collection in a worker would write to, and so copy, all that it shares with this process
            self._pool = ProcessPoolExecutor(self.workers, context, _start_worker)
            self._pool.submit(os.getpid).result()
            gc.unfreeze()
        waiting: deque[Future[Any]] = deque()
        for block in blocks:
            waiting.append(self._pool.submit(apply_pickled, step, block))
            if len(waiting) > _AHEAD * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _start_worker() -> None:
    """An interrupt is the driver's to handle, and a worker must not outlive a driver that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    become_worker()


def apply_pickled(step: bytes, block: Any) -> Any:
    """Return what a pickled step makes of a block; the step is kept for the next one."""
    return _unpickled(step)(block)


@lru_cache(maxsize=1)
def _unpickled(step: bytes) -> Any:
    """Kept from block to block, with whatever the step has loaded."""
    return pickle.loads(step)
