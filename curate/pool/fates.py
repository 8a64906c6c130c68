"""Every pool row's fate: what became of it and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SELECTED, HELD_OUT, NOT_PICKED, EXCLUDED = "selected", "held_out", "not_picked", "excluded"
Decision = tuple[int, str, str, str | None]  # row index, fate, reason code, detail


@dataclass(frozen=True)
class Fates:
    """Fate, reason code and detail of every row. A row is decided once; a second decision is a bug and raises.

    `codes` (n rows, int16) is 0 where nothing is decided yet, else 1 + the place of (fate, reason) in `kinds`;
    `details` holds a sentence for the rows that have one. Deciding returns new fates and leaves these as they are.
    """

    codes: NDArray[np.int16]
    kinds: tuple[tuple[str, str], ...] = ()
    details: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def undecided(cls, n_rows: int) -> Fates:
        """Return fates of `n_rows` rows about which nothing is decided."""
        return cls(np.zeros(n_rows, dtype=np.int16))

    def decide(self, decisions: Iterable[Decision]) -> Fates:
        """Return these fates with more rows decided."""
        codes, kinds, details = self.codes.copy(), list(self.kinds), dict(self.details)
        place = {kind: code for code, kind in enumerate(kinds, 1)}
        for row_index, fate, reason, detail in decisions:
            if codes[row_index]:
                before = kinds[codes[row_index] - 1]
                raise ValueError(f"row {row_index} is already {before[0]} ({before[1]})")
            if (fate, reason) not in place:
                kinds.append((fate, reason))
                place[fate, reason] = len(kinds)
            codes[row_index] = place[fate, reason]
            if detail is not None:
                details[row_index] = detail
        return Fates(codes, tuple(kinds), details)

    def exclude(self, rows: Iterable[tuple[int, str, str | None]]) -> Fates:
        """Return these fates with rows excluded, each given as (row index, reason code, detail)."""
        return self.decide((row_index, EXCLUDED, reason, detail) for row_index, reason, detail in rows)

    def decide_all(self, rows: NDArray[np.int64], fate: str, reason: str) -> Fates:
        """Return these fates with many open rows decided alike."""
        if self.codes[rows].any():
            raise ValueError(f"rows are decided already, before they became {fate} ({reason})")
        kinds = self.kinds if (fate, reason) in self.kinds or not len(rows) else (*self.kinds, (fate, reason))
        codes = self.codes.copy()
        if len(rows):
            codes[rows] = 1 + kinds.index((fate, reason))
        return Fates(codes, kinds, self.details)

    def columns(self) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Return fate and reason code of every row (n,)."""
        fates = np.array([None, *(fate for fate, _ in self.kinds)], dtype=object)
        reasons = np.array([None, *(reason for _, reason in self.kinds)], dtype=object)
        return fates[self.codes], reasons[self.codes]

    def open_rows(self) -> list[int]:
        """Return the indices of the rows not decided yet, in pool order."""
        return np.flatnonzero(self.codes == 0).tolist()

    def kind_of(self, row_index: int) -> tuple[str, str] | tuple[None, None]:
        """Return (fate, reason code) of a row; both None where it is not decided."""
        code = int(self.codes[row_index])
        return self.kinds[code - 1] if code else (None, None)

    def counts(self) -> dict[str, int]:
        """Return the rows by fate, and the excluded ones by reason as `excluded.<reason>`."""
        fates: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for (fate, reason), n in self._sizes():
            fates[fate] += n
            if fate == EXCLUDED:
                reasons[f"{EXCLUDED}.{reason}"] += n
        return {"pool": len(self.codes), **dict(sorted(fates.items())), **dict(sorted(reasons.items()))}

    def excluded_sentence(self) -> str:
        """Return how many rows each reason removed, most first: "too_long 310, duplicate 12"."""
        reasons = sorted(((-n, reason) for (fate, reason), n in self._sizes() if fate == EXCLUDED))
        return ", ".join(f"{reason} {-n}" for n, reason in reasons) or "none"

    def _sizes(self) -> list[tuple[tuple[str, str], int]]:
        sizes = np.bincount(self.codes, minlength=len(self.kinds) + 1)[1:]
        return list(zip(self.kinds, sizes.tolist(), strict=True))
