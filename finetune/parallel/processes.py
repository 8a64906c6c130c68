"""Several processes that train one model together, one a GPU: which one this is, and what they tell each other.

A step holds the same bins however many processes there are: each takes its part of them, gradients are summed, and
losses and counts are added up before anything is written. Only the first process writes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from curate.errors import UserError
from finetune.config import RunConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is; alone, everything here gives back what it was given."""

    rank: int = 0
    size: int = 1
    sharded: bool = False  # the frozen weights are spread over them

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def _gather(self, value: Any) -> list[Any]:
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, value)
        return gathered

    def total(self, values: Sequence[float]) -> list[float]:
        """The sums, place by place, over all processes."""
        return list(values) if self.size == 1 else [sum(column) for column in zip(*self._gather(values), strict=True)]

    def join(self, parts: Sequence[T | None]) -> list[T | None]:
        """One list out of every process's, each holding None where another did the work."""
        if self.size == 1:
            return list(parts)
        return [next((x for x in column if x is not None), None) for column in zip(*self._gather(parts), strict=True)]

    def any(self, here: bool) -> bool:
        """Whether it holds in at least one process."""
        return here if self.size == 1 else any(self._gather(here))

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            self._gather(None)

    def by_first(self, work: Callable[[], T]) -> T:
        """Let the first process do `work`; all return what it returned, or raise the `UserError` that it raised."""
        if self.size == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = work()
            except UserError as error:
                outcome[1] = (error.what, error.next_step)
        dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise UserError(*outcome[1])
        return outcome[0]  # type: ignore[no-any-return]

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in their order."""
        return [value] if self.size == 1 else self._gather(value)

    def use_own_gpu(self) -> None:
        """Let "cuda" mean this process's GPU."""
        if self.size > 1 and torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


ALONE = Processes()


def this_process(sharded: bool = False) -> Processes:
    """What the launcher's environment says; alone where there is none."""
    return Processes(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)), sharded)


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Let the processes reach each other inside the block: tensors of GPUs through NCCL, all else through gloo."""
    if this_process().size == 1:
        yield
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    yield
    dist.destroy_process_group()  # not after an error: the others would be waited for


def batch_shape(config: RunConfig, size: int) -> tuple[int, int]:
    """(bins a batch, batches a step) of each of `size` processes, so that a step holds the bins the config says."""
    batch, whole = (
        config.per_device_train_batch_size,
        config.per_device_train_batch_size * config.gradient_accumulation_steps,
    )
    if whole % size:
        raise UserError(
            f"A step takes {whole} bins (per_device_train_batch_size x gradient_accumulation_steps), "
            f"which {size} GPUs cannot share evenly.",
            f"Set gradient_accumulation_steps={size * max(1, round(whole / size / batch))}.",
        )
    batch = math.gcd(batch, whole // size)
    return batch, whole // size // batch


def can_share(config: RunConfig, size: int) -> bool:
    """Whether `size` processes can share a step's bins evenly."""
    return config.per_device_train_batch_size * config.gradient_accumulation_steps % size == 0


def own_bins(bins: Sequence[list[int]], config: RunConfig, processes: Processes) -> list[list[int]]:
    """The bins that one of several processes trains on: its part of every step's. Alone, all of them, as they are.

    A last step that the bins do not fill is filled with empty ones, so that all processes do equally many batches.
    """
    if processes.size == 1:
        return list(bins)
    batch, accumulation = batch_shape(config, processes.size)
    share = batch * accumulation
    whole = share * processes.size
    filled = [*bins, *([] for _ in range(-len(bins) % whole))]
    return [
        bin_
        for start in range(0, len(filled), whole)
        for bin_ in filled[start + processes.rank * share : start + (processes.rank + 1) * share]
    ]
