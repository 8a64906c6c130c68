"""Greedy maximisation of how well picks cover a pool, on the few similarities that can still matter."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.strategies.types import Candidates
from curate.vectors.neighbours import ROUNDING, NearPick, each_block, nearest

_CELLS = 1 << 19  # similarities computed at a time by one thread, about
_MOST_ENTRIES = 1 << 25  # similarities expected to be kept: 256 MiB
_FEW_ENTRIES = 1 << 22  # so many are all kept
_ROWS_PER_PICK = 8  # rows evaluated, at least: picks valued on few rows suit those rows only
_FEWEST_PICKS = 4  # picks wanted for each row of the yardstick, at least
_MOST_PICKS = 64  # and at most


@dataclass(frozen=True)
class Entries:
    """For each candidate the evaluated rows it is nearer to than their floor: CSR, `rows` and `cosine` per entry."""

    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    cosine: NDArray[np.float32]

    def gains(self, covered: NDArray[np.float32]) -> NDArray[np.float64]:
        """What each candidate adds to rows covered so well (n,)."""
        gained = np.maximum(self.cosine - covered[self.rows], 0)
        sums = np.concatenate([[0.0], np.cumsum(gained, dtype=np.float64)])
        return np.asarray(np.round(sums[self.starts[1:]] - sums[self.starts[:-1]], 5))


class Coverage:
    """The facility-location function f(S) = sum over evaluated rows of max(0, cosine to the nearest row of S).

    The trick: floors. In all but small pools some random rows, one for every 4 to 64 picks wanted, are taken as a
    yardstick, and each evaluated row's cosine to the nearest of them (itself apart) is its floor. What is below the
    floor hardly matters once k picks stand, so only cosines above it are kept: with r yardstick rows about 1/(r + 1) of
    all, found in one blocked product. Greedy then maximises g(S) = sum of max(floor, cosine to the nearest row of S),
    which is at least f(S) for every S, so a bound on the best g bounds the best f. When nothing gains any more, floors
    give way to what the picks really reach, and greedy goes on.
    """

    def __init__(self, candidates: Candidates, k: int, rng: np.random.Generator, evaluated: int) -> None:
        self.candidates = candidates
        self.vectors = candidates.embeddings
        n = len(candidates)
        total = k + len(candidates.picked)
        most_rows = _MOST_ENTRIES * max(1, total // _FEWEST_PICKS) // n
        n_rows = min(n, max(evaluated, _ROWS_PER_PICK * total), max(256, most_rows))
        n_yardstick = max(total // _MOST_PICKS, min(total // _FEWEST_PICKS, n_rows * n // _MOST_ENTRIES))
        n_yardstick = 0 if n_rows * n <= _FEW_ENTRIES else n_yardstick
        self.rows = np.arange(n) if n_rows == n else np.sort(rng.permutation(n)[:n_rows])
        self.at_row = self.vectors if n_rows == n else self.vectors[self.rows]
        self.picked = list(candidates.picked.tolist())
        self.closed = np.zeros(n, dtype=bool) if candidates.barred is None else candidates.barred.copy()
        self.reached = self._reach(np.array(self.picked, dtype=np.int64))
        yardstick = np.sort(rng.permutation(n)[:n_yardstick])
        self.floor = np.maximum(self.reached, self._reach_of_others(yardstick))
        self.entries = self._entries()
        self.covered = self.floor.copy()

    def _reach(self, picks: NDArray[np.int64]) -> NDArray[np.float32]:
        """Each evaluated row's cosine to the nearest of `picks`, at least 0 (m,)."""
        return np.maximum(nearest(self.at_row, self.vectors[picks])[1], 0)

    def _reach_of_others(self, yardstick: NDArray[np.int64]) -> NDArray[np.float32]:
        """`_reach`, where a row is no yardstick for itself."""
        reach = self._reach(yardstick)
        at = np.flatnonzero(np.isin(self.rows, yardstick))
        if len(at):
            own = self.rows[at]
            cosine = self.vectors[own] @ self.vectors[yardstick].T
            cosine[np.arange(len(own)), np.searchsorted(yardstick, own)] = 0
            reach[at] = np.maximum(cosine.max(axis=1), 0)
        return reach

    def _entries(self) -> Entries:
        """Every cosine between an open candidate and an evaluated row that is above the row's floor."""
        at_row = np.ascontiguousarray(self.at_row.T)
        n_rows = len(self.rows)

        def above(block: slice) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
            cosine = self.vectors[block] @ at_row
            keep = cosine > self.floor
            keep[self.closed[block]] = False
            flat = np.flatnonzero(keep)
            counts = np.bincount(flat // n_rows, minlength=len(cosine))
            return counts, (flat % n_rows).astype(np.int32), cosine.ravel()[flat]

        parts = list(each_block(len(self.vectors), max(128, _CELLS // max(1, n_rows)), above))
        counts = np.concatenate([part[0] for part in parts])
        return Entries(
            np.concatenate([[0], np.cumsum(counts)]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
        )

    def pick(self, k: int) -> tuple[list[int], NDArray[np.float64]]:
        """k further picks and what each gained; rows near a pick are passed over while others remain."""
        wanted = len(self.picked) + min(k, int((~self.closed).sum()))
        first = len(self.picked)
        gains: list[float] = []
        self._greedy(wanted, gains)
        if len(self.picked) < wanted:
            self.reached = self._reach(np.array(self.picked, dtype=np.int64))
            self.floor = self.reached
            self.entries = self._entries()
            self.covered = self.floor.copy()
            self._greedy(wanted, gains)
        rest = np.flatnonzero(~self.closed)
        rest = rest[~np.isin(rest, self.picked)][: wanted - len(self.picked)]
        self.picked += rest.tolist()
        return self.picked[first:], np.array(gains + [0.0] * len(rest))

    def _greedy(self, wanted: int, gains: list[float]) -> None:
        """Lazy greedy (Minoux, 1978): gains only fall, so only the candidate on top is looked at again."""
        starts, rows, cosine, covered = self.entries.starts, self.entries.rows, self.entries.cosine, self.covered
        initial = self.entries.gains(covered)
        heap = [(-initial[j], j) for j in np.flatnonzero((initial > 0) & ~self.closed).tolist()]
        heapq.heapify(heap)
        near = NearPick(self.vectors, self.picked, wanted, self.candidates.near_duplicate)
        while heap and len(self.picked) < wanted:
            _, j = heap[0]
            mine = slice(starts[j], starts[j + 1])
            at, value = rows[mine], cosine[mine]
            gain = round(float(np.maximum(value - covered[at], 0).sum(dtype=np.float64)), 5)
            if gain <= 0:
                heapq.heappop(heap)
            elif len(heap) > 1 and (-gain, j) > min(heap[1:3]):
                heapq.heapreplace(heap, (-gain, j))
            elif near.is_near(j):
                heapq.heappop(heap)
            else:
                heapq.heappop(heap)
                covered[at] = np.maximum(covered[at], value)
                self.picked.append(j)
                self.closed[j] = True
                near.add(j)
                gains.append(gain)

    def bound(self) -> float:
        """What no set of as many picks as stand can exceed, over the evaluated rows: g plus their largest gains."""
        left = np.sort(self.entries.gains(self.covered))[::-1][: len(self.picked)]
        return float(self.covered.sum(dtype=np.float64)) + float(left.sum())

    def value(self, picks: list[int]) -> float:
        """f of the picks over the evaluated rows."""
        return float(self._reach(np.array(picks, dtype=np.int64)).sum(dtype=np.float64))


def move_to_medoids(candidates: Candidates, order: list[int], rounds: int) -> tuple[list[int], float]:
    """The picks, each moved to the row of its cell that serves the cell best, and f over all rows of all picks.

    The cell of a pick are the rows nearest to it. The sum of their cosines to a row is one product with the sum of
    their vectors, so a round costs one search for nearest picks, over the whole pool: what a sample missed is mended
    (Voronoi iteration for k-medoids: Park and Jun, 2009). Picks that stood before stay; a move that would bring two
    picks near each other, or not raise f, is not made.
    """
    vectors = candidates.embeddings
    stand = candidates.picked
    picks = np.concatenate([stand, np.array(order, dtype=np.int64)])
    cell, cosine = nearest(vectors, vectors[picks])
    value = float(np.maximum(cosine, 0).sum(dtype=np.float64))
    movable = np.zeros(len(vectors), dtype=bool)
    movable[candidates.open()] = True
    for _ in range(rounds):
        moved = _medoids(vectors, picks, cell, movable)
        moved[: len(stand)] = stand
        moved = _keep_apart(vectors, picks, moved, candidates.near_duplicate)
        if (moved == picks).all():
            break
        cell_after, cosine = nearest(vectors, vectors[moved])
        value_after = float(np.maximum(cosine, 0).sum(dtype=np.float64))
        if value_after <= value:
            break
        picks, cell, value = moved, cell_after, value_after
    return picks[len(stand) :].tolist(), value


def _medoids(
    vectors: NDArray[np.float32], picks: NDArray[np.int64], cell: NDArray[np.int64], movable: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """For every pick the movable row of its cell with the largest sum of cosines to the cell; the first of equals."""
    by_cell = np.argsort(cell, kind="stable")
    used, starts = np.unique(cell[by_cell], return_index=True)
    sums = np.zeros((len(picks), vectors.shape[1]), dtype=np.float32)
    for number, rows in zip(used.tolist(), np.split(by_cell, starts[1:]), strict=True):
        sums[number] = vectors[rows].sum(axis=0, dtype=np.float64)
    served = np.concatenate(
        list(each_block(len(vectors), 16_384, lambda rows: np.einsum("nd,nd->n", vectors[rows], sums[cell[rows]])))
    )
    # A pick outside its own cell (its equal is another pick) and rows that may not be picked are left where they are.
    rows = np.flatnonzero(movable)
    rows = rows[np.lexsort((rows, -np.round(served[rows], 4), cell[rows]))]
    used, first = np.unique(cell[rows], return_index=True)
    moved = picks.copy()
    own = cell[picks] == np.arange(len(picks))
    moved[used[own[used]]] = rows[first][own[used]]
    return moved


def _keep_apart(
    vectors: NDArray[np.float32], picks: NDArray[np.int64], moved: NDArray[np.int64], bound: float
) -> NDArray[np.int64]:
    """`moved`, without the moves that come near another pick, where it was or where it goes."""
    changed = np.flatnonzero(moved != picks)
    kept = picks.copy()
    others = vectors[np.concatenate([picks, moved])]

    def is_free(rows: slice) -> NDArray[np.bool_]:
        numbers = changed[rows]
        cosine = vectors[moved[numbers]] @ others.T
        each = np.arange(len(numbers))
        cosine[each, numbers] = cosine[each, numbers + len(picks)] = -1
        return np.asarray(cosine.max(axis=1) < bound - ROUNDING)

    free = np.concatenate([np.zeros(0, dtype=bool), *each_block(len(changed), 512, is_free)])
    kept[changed[free]] = moved[changed[free]]
    return kept
