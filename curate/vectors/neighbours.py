"""Nearest rows among unit vectors, in fixed blocks: the same result on any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from curate.engines.cores import cores
from curate.engines.types import Engine
from curate.vectors.pieces import Piece, give_back, map_pieces

T = TypeVar("T")
ROUNDING = 5e-6  # cosines are compared as if rounded to 1e-5: their last bits decide nothing
_BLOCK = 1024
_OTHERS = 2048
_GIVEN_BACK_ROWS = 32 * _BLOCK  # read of a mapped matrix until its pages are given back


@contextmanager
def one_thread_a_product() -> Iterator[None]:
    """Every matrix product inside is computed by one thread.

    Sums split over threads differ in their last bits with the number of threads. Work is shared out by `each_block`
    instead, whose blocks do not depend on it.
    """
    with threadpool_limits(1):
        yield


def each_block(n_rows: int, block: int, job: Callable[[slice], T]) -> Iterator[T]:
    """`job` of every slice of `block` rows, on all cores, results in order; a single slice runs in this thread."""
    slices = [slice(start, min(start + block, n_rows)) for start in range(0, n_rows, block)]
    if len(slices) <= 1 or cores() == 1:
        yield from map(job, slices)
        return
    with ThreadPoolExecutor(cores()) as pool:
        yield from pool.map(job, slices)


def nearest(
    vectors: NDArray[np.float32], others: NDArray[np.float32], at: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the place of the nearest row of `others` and its cosine for every row of `vectors`, or those `at` places.

    Both hold unit rows, which are gathered block by block: no copy of them all is made. Ties go to the lower place.
    Without others the places are -1 and the cosines -inf.
    """

    def search(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        block = vectors[rows] if at is None else vectors[at[rows]]
        place = np.full(len(block), -1, dtype=np.int64)
        value = np.full(len(block), -np.inf, dtype=np.float32)
        for start in range(0, len(others), _OTHERS):
            cosine = block @ others[start : start + _OTHERS].T
            best = cosine.argmax(axis=1)
            found = np.take_along_axis(cosine, best[:, None], axis=1)[:, 0]
            better = found > value
            place[better], value[better] = best[better] + start, found[better]
        if rows.start % _GIVEN_BACK_ROWS == 0:
            give_back(vectors)
        return place, value

    n_rows = len(vectors) if at is None else len(at)
    if not n_rows:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    parts = list(each_block(n_rows, _BLOCK, search))
    return np.concatenate([place for place, _ in parts]), np.concatenate([value for _, value in parts])


@dataclass(frozen=True)
class NearestStep:
    """Returns `nearest` among `others` of every row of a block."""

    others: NDArray[np.float32]

    def __call__(self, piece: Piece) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        parts = piece.by_cell(lambda rows: nearest(rows, self.others))
        return np.concatenate([place for place, _ in parts]), np.concatenate([value for _, value in parts])


def nearest_everywhere(
    engine: Engine, vectors: NDArray[np.float32], others: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return `nearest` for a whole matrix, mapped over its cells."""
    if not len(vectors):
        return nearest(vectors, others)
    parts = list(map_pieces(engine, NearestStep(others), vectors))
    return np.concatenate([place for place, _ in parts]), np.concatenate([value for _, value in parts])


def distinct(vectors: NDArray[np.float32], bound: float, enough: int | None = None) -> NDArray[np.int64]:
    """Places, in order, of the unit rows whose cosine to every kept earlier row is below `bound`.

    The search ends where at least `enough` are kept.
    """
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        if enough is not None and len(kept) >= enough:
            break
        block = vectors[start : start + _BLOCK]
        standing = nearest(block, vectors[kept])[1] < bound - ROUNDING
        near = np.tril(block @ block.T >= bound - ROUNDING, -1)
        for i in np.flatnonzero(near.any(axis=1)):
            standing[i] &= not (near[i] & standing).any()
        kept = np.concatenate([kept, start + np.flatnonzero(standing)])
    return kept


class NearPick:
    """Whether a row is near one of the picks, which are kept side by side."""

    def __init__(self, vectors: NDArray[np.float32], picked: list[int], wanted: int, bound: float) -> None:
        self.vectors, self.bound, self.n = vectors, bound - ROUNDING, len(picked)
        self.picks = np.empty((wanted, vectors.shape[1]), dtype=np.float32)
        self.picks[: self.n] = vectors[picked]

    def is_near(self, row: int) -> bool:
        return bool(self.n) and bool((self.picks[: self.n] @ self.vectors[row]).max() >= self.bound)

    def add(self, row: int) -> None:
        self.picks[self.n] = self.vectors[row]
        self.n += 1
