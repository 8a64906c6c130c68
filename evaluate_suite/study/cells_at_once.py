"""How many cells of a study go at once on this machine: as many as the forecast says fit its GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from curate.errors import UsageError, UserError
from finetune.config import RunConfig
from finetune.memory.forecast import GIB, forecast
from finetune.memory.shapes import load_shape

AUTO = "auto"
CONTEXT_GIB = 0.6  # of each process, beside what torch counts
SHARE = 0.9  # of a card's memory
MOST = 8  # cells a card: they take turns on it, and each wants cores and memory of the machine


@dataclass(frozen=True)
class CellsAtOnce:
    """`each` cells on every one of `gpus` (at least 1, so that a machine without any has a place), and why so many."""

    gpus: int
    each: int
    why: str

    @property
    def total(self) -> int:
        """How many cells there are at once."""
        return self.gpus * self.each


def cells_at_once(workers: str, recipe: RunConfig) -> CellsAtOnce:
    """Return what --workers asks for: a number, or "auto"."""
    if workers != AUTO:
        if not workers.isdecimal() or int(workers) < 1:
            raise UsageError(f"--workers is {workers}; it must be at least 1.", "Leave it out for as many as fit.")
        return CellsAtOnce(1, int(workers), "--workers says so")
    gpus = torch.cuda.device_count() if recipe.device != "cpu" and torch.cuda.is_available() else 0
    if gpus == 0:
        return CellsAtOnce(1, 1, "there is no GPU, and a cell uses all cores")
    card = min(torch.cuda.get_device_properties(number).total_memory for number in range(gpus)) / GIB
    try:
        peak = forecast(recipe, load_shape(recipe.model)).peak_gib + CONTEXT_GIB
    except UserError as error:
        return CellsAtOnce(gpus, 1, f"one on each GPU, since no forecast can be made: {error}")
    return cells_that_fit(gpus, card, peak, os.cpu_count() or 1)


def cells_that_fit(gpus: int, card: float, peak: float, cores: int) -> CellsAtOnce:
    """Return how many cells of `peak` GiB go at once on `gpus` cards of `card` GiB, with `cores` to drive them."""
    bounds = {
        f"a cell needs {peak:.1f} GiB by the forecast, and a card has {card:.1f}": int(SHARE * card / peak),
        f"the machine has {cores} cores": cores // gpus // 2,
        "more would only wait for the card": MOST,
    }
    why, each = min(bounds.items(), key=lambda bound: bound[1])
    return CellsAtOnce(gpus, max(1, each), f"{max(1, each)} on each GPU, since {why}")
