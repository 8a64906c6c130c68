"""Who does a study's cells: this process, several of this machine, or a Ray cluster. All give back the same."""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from curate.console import say
from curate.errors import UserError

Work = Callable[..., Any]  # a function at the top of a module; what it is given and returns is pickled
Cell = tuple[Any, ...]  # what `Work` is given


@dataclass(frozen=True)
class Failed:
    """A cell that could not be done, and why: the others go on."""

    why: str


class Runner(Protocol):
    """Does cells that have nothing to do with each other."""

    def run(self, work: Work, cells: Sequence[Cell], names: Sequence[str]) -> list[Any | Failed]:
        """Return `work(*cell)` of every cell, in order, or how it failed; say which is done."""
        ...

    def end(self) -> None:
        """Let go of what was started for the cells."""
        ...


def attempt(work: Work, cell: Cell) -> Any | Failed:
    """Do one cell; of whatever kind its error is, the other cells have nothing to do with it."""
    try:
        return work(*cell)
    except Exception as error:  # memory that ran out among them
        what = " ".join(str(error).split()) or "no message"
        return Failed(what if isinstance(error, UserError) else f"{type(error).__name__}: {what}")


class Here:
    """One cell after the other, in this process."""

    def run(self, work: Work, cells: Sequence[Cell], names: Sequence[str]) -> list[Any | Failed]:
        """See `Runner`."""
        outcomes = []
        for number, (cell, name) in enumerate(zip(cells, names, strict=True), start=1):
            say(f"{number} of {len(cells)}: {name}")
            outcomes.append(attempt(work, cell))
        return outcomes

    def end(self) -> None:
        """See `Runner`."""


class Workers:
    """`size` processes of this machine, which share its GPUs in turn. One that dies costs the cell it was at."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._slots: list[_Slot] = []

    def run(self, work: Work, cells: Sequence[Cell], names: Sequence[str]) -> list[Any | Failed]:
        """See `Runner`. Each process stays until `end`, so that it imports and loads once what all its cells need."""
        free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        wanted = min(self.size, len(cells))
        self._slots += [_Slot(place, self.size) for place in range(len(self._slots), wanted)]
        for slot in self._slots[:wanted]:
            free.put(slot)
        done: queue.SimpleQueue[str] = queue.SimpleQueue()

        def one(cell: Cell, name: str) -> Any | Failed:
            slot = free.get()
            try:
                return slot.do(work, cell)
            finally:
                free.put(slot)
                done.put(name)

        with ThreadPoolExecutor(max(1, wanted)) as threads:
            futures = [threads.submit(one, cell, name) for cell, name in zip(cells, names, strict=True)]
            try:
                for number in range(1, len(cells) + 1):
                    say(f"{number} of {len(cells)} done: {done.get()}")
            except BaseException:  # Ctrl-C: what is not begun is not to begin
                threads.shutdown(wait=False, cancel_futures=True)
                raise
            return [future.result() for future in futures]

    def end(self) -> None:
        """See `Runner`."""
        for slot in self._slots:
            slot.end()
        self._slots.clear()


class _Slot:
    """One process, started anew where it died."""

    def __init__(self, place: int, size: int) -> None:
        self.place, self.size = place, size
        self._pool = self._start()

    def do(self, work: Work, cell: Cell) -> Any | Failed:
        """Return what the cell gives in this process."""
        try:
            return self._pool.submit(attempt, work, cell).result()
        except BrokenProcessPool:
            self._pool = self._start()
            return Failed("its process was killed, most likely for want of memory: take fewer --workers")

    def end(self) -> None:
        """Let the process go."""
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _become_worker, (self.place, self.size, gpus, str(Path.cwd()))
        )


def _become_worker(place: int, size: int, gpus: int, folder: str) -> None:
    """Take one of the GPUs and a share of the cores, and be silent: the first process speaks for all."""
    os.chdir(folder)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = card_of(place, gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (for the life of the process)


def card_of(place: int, gpus: int, visible: str | None) -> str:
    """Return the GPU of the worker at `place`: of those that CUDA_VISIBLE_DEVICES leaves `visible`, where it is set."""
    cards = [each.strip() for each in visible.split(",")] if visible else [str(number) for number in range(gpus)]
    return cards[place % gpus]
