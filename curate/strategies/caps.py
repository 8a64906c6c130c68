"""How much of the picks one value of a column may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cap:
    """At most `most` of the picks, rows or tokens of rows, may have one value of the column `name`: `share` of them.

    `codes` (n,) are the places of the candidates' values in `values`.
    """

    name: str
    share: float
    most: int
    codes: NDArray[np.int64]
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"--cap {self.name}={self.share:g}"

    def take(self, places: NDArray[np.int64]) -> Cap:
        """The cap of the candidates at `places`."""
        return replace(self, codes=self.codes[places])


class Room:
    """What the caps still leave, while candidates of some `weights` (n,) are picked: 1 each, or their tokens."""

    def __init__(self, caps: Sequence[Cap], weights: NDArray[np.int64]) -> None:
        self.caps, self.weights = caps, weights
        self._left = [np.full(len(cap.values), cap.most) for cap in caps]

    def spend(self, places: NDArray[np.int64], back: bool = False) -> None:
        """Count picks, or take them back."""
        weights = -self.weights[places] if back else self.weights[places]
        for cap, left in zip(self.caps, self._left, strict=True):
            np.subtract.at(left, cap.codes[places], weights)

    def has(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of the candidates at `places`, alone, may still be picked."""
        fits = np.ones(len(places), dtype=bool)
        for cap, left in zip(self.caps, self._left, strict=True):
            fits &= self.weights[places] <= left[cap.codes[places]]
        return fits

    def fitting(self, places: NDArray[np.int64]) -> list[int]:
        """Which of the candidates at `places` may be picked together, in this order: places in `places`."""
        if not self.caps:
            return list(range(len(places)))
        left = [each.copy() for each in self._left]
        taken = []
        for i, place in enumerate(places.tolist()):
            at = [cap.codes[place] for cap in self.caps]
            if all(self.weights[place] <= room[code] for room, code in zip(left, at, strict=True)):
                taken.append(i)
                for room, code in zip(left, at, strict=True):
                    room[code] -= self.weights[place]
        return taken

    def notes(self, smallest: int) -> list[str]:
        """Return which values have all they may have, less than the `smallest` weight being left to them, and which
        have more: only what stood before the first pick can have that."""
        notes = []
        for cap, left in zip(self.caps, self._left, strict=True):
            room = dict(zip(cap.values, left.tolist(), strict=True))
            if full := [value for value in cap.values if 0 <= room[value] < smallest]:
                notes.append(f"{cap}: as much as it allows of {_named(full)}.")
            if over := [value for value in cap.values if room[value] < 0]:
                notes.append(f"{cap}: the rows of --keep alone have more than it allows of {_named(over)}.")
        return notes

    def way_out(self) -> str:
        """Return what to change where the caps leave too few rows."""
        for cap in self.caps:
            n_values = len(np.unique(cap.codes))
            if cap.share * n_values < 1 - 1e-9:
                values = f"{n_values} values" if n_values > 1 else "one value"
                share = np.ceil(100 / n_values) / 100
                return f"The candidates have {values} of {cap.name}: a share of {share:g} or more can be filled."
        return "Raise the share, or take a smaller --k."


def _named(values: Sequence[str]) -> str:
    return ", ".join(sorted(values)[:5]) + (f" and {len(values) - 5} others" if len(values) > 5 else "")
