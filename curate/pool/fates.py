"""Every pool row's fate: what became of it and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

SELECTED, HELD_OUT, NOT_PICKED, EXCLUDED = "selected", "held_out", "not_picked", "excluded"


@dataclass
class Fates:
    """Fate, reason code and detail for `n_rows` rows. A row is decided once; a second decision is a bug and raises."""

    n_rows: int
    fate: list[str | None] = field(init=False)
    reason: list[str | None] = field(init=False)
    detail: list[str | None] = field(init=False)

    def __post_init__(self) -> None:
        self.fate = [None] * self.n_rows
        self.reason = [None] * self.n_rows
        self.detail = [None] * self.n_rows

    def decide(self, row_index: int, fate: str, reason: str | None, detail: str | None = None) -> None:
        """Record what became of a row."""
        if self.fate[row_index] is not None:
            raise ValueError(f"row {row_index} is already {self.fate[row_index]} ({self.reason[row_index]})")
        self.fate[row_index], self.reason[row_index], self.detail[row_index] = fate, reason, detail

    def exclude(self, rows: Iterable[tuple[int, str, str | None]]) -> None:
        """Exclude rows given as (row index, reason code, detail)."""
        for row_index, reason, detail in rows:
            self.decide(row_index, EXCLUDED, reason, detail)

    def open_rows(self) -> list[int]:
        """Indices of the rows not decided yet, in pool order."""
        return [i for i, fate in enumerate(self.fate) if fate is None]

    def counts(self) -> dict[str, int]:
        """Rows by fate, and the excluded ones by reason as `excluded.<reason>`."""
        fates = Counter(fate for fate in self.fate if fate is not None)
        reasons = Counter(
            f"{EXCLUDED}.{reason}" for fate, reason in zip(self.fate, self.reason, strict=True) if fate == EXCLUDED
        )
        return {"pool": self.n_rows, **dict(sorted(fates.items())), **dict(sorted(reasons.items()))}

    def excluded_sentence(self) -> str:
        """How many rows each reason removed, most first: "too_long 310, duplicate 12"."""
        reasons = Counter(str(reason) for fate, reason in zip(self.fate, self.reason, strict=True) if fate == EXCLUDED)
        return ", ".join(f"{reason} {n}" for reason, n in reasons.most_common()) or "none"
