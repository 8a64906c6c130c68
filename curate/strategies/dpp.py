"""`dpp`: the rows that are jointly most unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.errors import UserError
from curate.strategies.types import Candidates, Picks
from curate.vectors.neighbours import ROUNDING

_REFRESHED = 256  # rows brought up to date together
_LEAST_VARIANCE = 1e-8  # below this the determinant is zero as far as double precision can tell
_MOST_GIB = 8.0


def select(candidates: Candidates, k: int, rng: np.random.Generator, bandwidth: float) -> Picks:
    """Greedy MAP of a determinantal point process (Chen, Zhang and Zhou, 2018, arXiv 1709.05135): k rows, each the one
    that multiplies the determinant of the picks' kernel most; the first, where all are equal, is random.

    The kernel is exp(-(1 - cosine) / bandwidth^2), which has full rank for rows that differ; a plain
    cosine kernel has rank d, so that its determinant is zero for more than d picks. Where the determinant does reach
    zero before k (rows that repeat each other, a wide bandwidth), the rest is drawn at random and a note says how many.
    Determinants only fall, so most rows' are never brought up to date (Hemmi et al., 2022, arXiv 2206.05947).
    Needs up to 8 bytes x n x k of memory.
    """
    places = candidates.open()
    total = len(candidates.picked) + k
    gib = 8 * len(places) * total / 2**30
    if gib > _MOST_GIB:
        raise UserError(
            f"Strategy dpp may need {gib:.0f} GiB for {total} picks among {len(places)} rows; its limit is "
            f"{_MOST_GIB:.0f} GiB.",
            "Take a smaller --k, or --strategy kcenter.",
        )
    process = _Process(candidates.embeddings, places, total, bandwidth)
    for pick in candidates.picked.tolist():
        process.force(pick)
    order: list[int] = []
    reasons: list[str] = []
    while len(order) < min(k, len(places)):
        best = _first(candidates, places, rng) if process.n_picked == 0 else process.refreshed_best()
        variance = float(process.variance[best])
        if variance < _LEAST_VARIANCE:
            break
        if process.is_near_a_pick(best, candidates.near_duplicate):
            process.variance[best] = -np.inf
            continue
        process.pick(best)
        order.append(int(places[best]))
        reasons.append(f"{100 * variance:.2f}% new beside the earlier picks")
    notes = []
    missing = min(k, len(places)) - len(order)
    if missing:
        others = candidates.shuffled(places[~np.isin(places, order)], rng)[:missing]
        order += others.tolist()
        reasons += ["drawn at random: the determinant is zero"] * len(others)
        notes = [
            f"dpp: the determinant is zero beyond {total - missing} rows at bandwidth {bandwidth}; the other picks "
            "were drawn at random among the rows left."
        ]
    return Picks(np.array(order, dtype=np.int64), reasons, notes)


def _first(candidates: Candidates, places: NDArray[np.int64], rng: np.random.Generator) -> int:
    """Where in `places` a random row stands."""
    return int(rng.integers(len(places)) if candidates.luck is None else np.argmin(candidates.luck[places]))


class _Process:
    """Incremental Cholesky factors of the kernel: each row's variance that the picks leave unexplained."""

    def __init__(self, vectors: NDArray[np.float32], places: NDArray[np.int64], total: int, bandwidth: float) -> None:
        self.vectors, self.places, self.bandwidth = vectors, places, bandwidth
        self.factors = np.zeros((len(places), total))  # pages are only touched for rows that are brought up to date
        self.variance = np.ones(len(places))
        self.seen = np.zeros(len(places), dtype=np.int64)
        self.triangle = np.zeros((total, total))  # the picks' own factors
        self.inverse = np.zeros((total, total))  # of the triangle; its diagonal blocks invert the triangle's
        self.pick_vectors = np.empty((total, vectors.shape[1]), dtype=np.float32)
        self.n_picked = 0

    def kernel(self, vectors: NDArray[np.float32], picks: slice) -> NDArray[np.float64]:
        """(n, picks) similarities of `vectors` to some of the picks."""
        cosine = np.round((vectors @ self.pick_vectors[picks].T).astype(np.float64), 6)
        return np.asarray(np.exp((np.minimum(cosine, 1) - 1) / self.bandwidth**2))

    def factor(self, vectors: NDArray[np.float32], known: NDArray[np.float64], seen: int) -> NDArray[np.float64]:
        """Factors of `vectors` for the picks from number `seen` on, given those before (n, seen)."""
        new = slice(seen, self.n_picked)
        rest = self.kernel(vectors, new) - known @ self.triangle[new, :seen].T
        return np.asarray(rest @ self.inverse[new, new].T)

    def pick(self, at: int) -> None:
        """Take the row at `at`, which is up to date."""
        self._append(self.vectors[self.places[at]], self.factors[at, : self.n_picked], float(self.variance[at]))
        self.variance[at] = -np.inf

    def force(self, row: int) -> None:
        """Take a row that stands already, unless it adds nothing to those taken."""
        vector = self.vectors[row : row + 1]
        factors = self.factor(vector, np.zeros((1, 0)), 0)[0]
        variance = 1 - float(np.square(factors).sum())
        if variance >= _LEAST_VARIANCE:
            self._append(vector[0], factors, variance)

    def _append(self, vector: NDArray[np.float32], factors: NDArray[np.float64], variance: float) -> None:
        t, root = self.n_picked, np.sqrt(variance)
        self.triangle[t, :t], self.triangle[t, t] = factors, root
        self.inverse[t, :t], self.inverse[t, t] = -(factors @ self.inverse[:t, :t]) / root, 1 / root
        self.pick_vectors[t] = vector
        self.n_picked += 1

    def refreshed_best(self) -> int:
        """The row with the largest variance, up to date; the first of equals."""
        while True:
            best = int(np.argmax(self.variance))
            if self.seen[best] == self.n_picked or self.variance[best] == -np.inf:
                return best
            size = min(_REFRESHED, len(self.variance))
            top = np.argpartition(-self.variance, size - 1)[:size]
            top = top[(self.seen[top] < self.n_picked) & (self.variance[top] > -np.inf)]
            # Rows about equally far behind are brought up together: the farthest behind sets the work for all of them.
            lag = self.n_picked - self.seen[top]
            behind = np.ceil(np.log2(lag))
            for power in np.unique(behind):
                self._refresh(top[behind == power])

    def _refresh(self, rows: NDArray[np.int64]) -> None:
        since = int(self.seen[rows].min())
        new = self.factor(self.vectors[self.places[rows]], self.factors[rows, :since], since)
        self.factors[rows, since : self.n_picked] = new
        spent = np.square(self.factors[rows, : self.n_picked]).sum(axis=1)
        self.variance[rows] = np.round(np.maximum(1 - spent, 0), 9)
        self.seen[rows] = self.n_picked

    def is_near_a_pick(self, at: int, bound: float) -> bool:
        """Whether a pick has a cosine of `bound` or more to the row at `at`."""
        picks = self.pick_vectors[: self.n_picked]
        return bool((picks @ self.vectors[self.places[at]] >= bound - ROUNDING).any())
