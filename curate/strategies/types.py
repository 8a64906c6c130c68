"""What a strategy is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from curate.strategies.caps import Cap


def _no_rows() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Candidates:
    """What a strategy chooses from: n rows in row_id order, as arrays, never as text.

    embeddings (n x d float32, unit rows), labels (n,) and centres (c x d) of the clusters, token_counts (n,),
    prompt_chars and output_chars (n,) lengths in characters, row_index (n,) place in the pool, scores by name (n,),
    target (t x d) the rows that picks should be near; in a coordinated draw, luck (n,): the rows' own random numbers.
    `picked` are positions that stand already, in pick order, of which the first `kept` stood before the strategy was
    asked at all (rows of `--keep`);
    `barred` (n,) are rows that may not be picked: those that stand, and near-duplicates of them. A strategy picks
    among the open rows and goes on from the ones that stand. Two picks with a cosine of `near_duplicate` or more do not
    stand together: the later one is dropped and the strategy asked again, so it may ignore this or save the round. The
    same holds for a pick that one of the `caps` has no room for.
    """

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int32]
    centres: NDArray[np.float32]
    token_counts: NDArray[np.int32]
    prompt_chars: NDArray[np.int32]
    output_chars: NDArray[np.int32]
    row_index: NDArray[np.int64]
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    target: NDArray[np.float32] | None = None
    luck: NDArray[np.float64] | None = None
    picked: NDArray[np.int64] = field(default_factory=_no_rows)
    barred: NDArray[np.bool_] | None = None
    near_duplicate: float = 1.0
    caps: tuple[Cap, ...] = ()
    kept: int = 0

    def __len__(self) -> int:
        return len(self.row_index)

    def take(self, places: NDArray[np.int64]) -> Candidates:
        """The candidates at `places`, which ascend and hold every standing pick."""
        return replace(
            self,
            embeddings=self.embeddings[places],
            labels=self.labels[places],
            token_counts=self.token_counts[places],
            prompt_chars=self.prompt_chars[places],
            output_chars=self.output_chars[places],
            row_index=self.row_index[places],
            scores={name: values[places] for name, values in self.scores.items()},
            luck=None if self.luck is None else self.luck[places],
            picked=np.searchsorted(places, self.picked),
            barred=None if self.barred is None else self.barred[places],
            caps=tuple(cap.take(places) for cap in self.caps),
        )

    def shuffled(self, places: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """`places` in random order: in that of the rows' luck where the draw is coordinated, else as `rng` says."""
        if self.luck is None:
            return rng.permutation(places)
        return places[np.argsort(self.luck[places], kind="stable")]

    def open(self) -> NDArray[np.int64]:
        """Positions that may be picked, ascending."""
        return np.arange(len(self)) if self.barred is None else np.flatnonzero(~self.barred)


@dataclass
class Picks:
    """Positions among the candidates in pick order, a reason for each, notes for the user, and the candidates left out
    as near-duplicates: position -> (position of the pick it repeats, cosine)."""

    indices: NDArray[np.int64]
    reasons: list[str]
    notes: list[str] = field(default_factory=list)
    near_duplicates: dict[int, tuple[int, float]] = field(default_factory=dict)


Select = Callable[[Candidates, int, np.random.Generator], Picks]  # what a strategy is, its options filled in
