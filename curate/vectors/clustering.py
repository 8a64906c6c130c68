"""Clusters of unit vectors by Lloyd's steps over cells: the same bytes for any number of blocks and workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import kmeans_plusplus
from threadpoolctl import threadpool_limits

from curate.engines.local import LocalEngine
from curate.engines.types import Engine
from curate.vectors.pieces import Piece, pieces

SEED_ROWS = 16_384  # rows among which the first centres are looked for
_SEED_ROWS_A_CLUSTER = 8
_STEPS = 20
_LEAST_GAIN = 2e-4  # of the mean cosine to the centre, from one step to the next
_EXACT = np.float32(2.0**24)  # vectors in whole units of 1 / 2**24: sums are exact in float64, in any order
_BLOCK = 16_384


def default_n_clusters(n_rows: int, k: int) -> int:
    """About 16 picks a cluster, at least 8 clusters, never more than a quarter of the rows."""
    return max(1, min(max(8, k // 16), n_rows // 4))


@dataclass(frozen=True)
class LloydStep:
    """Assigns the rows of a block to `centres`; returns the sum (c x d, in units of 2^-24) and number (c,) of every
    centre's rows and the summed cosines, in units of 1e-5. Rows that are not among those to cluster are left out."""

    centres: NDArray[np.float32]

    def __call__(self, block: tuple[Piece, NDArray[np.bool_]]) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
        piece, among = block
        n = len(self.centres)
        sums, counts, total, at = np.zeros((n, piece.width)), np.zeros(n, dtype=np.int64), 0, 0
        for rows, (labels, cosine) in piece.by_cell(lambda rows: (rows, nearest_centres(rows, self.centres))):
            mine = np.flatnonzero(among[at : at + len(rows)])
            at += len(rows)
            labels = labels[mine]
            whole = np.rint(rows[mine] * _EXACT).astype(np.float64)
            member = csr_array((np.ones(len(mine)), (labels, np.arange(len(mine)))), shape=(n, len(mine)))
            sums += np.asarray(member @ whole)
            counts += np.bincount(labels, minlength=n)
            total += int(np.round(cosine[mine].astype(np.float64) * 1e5).astype(np.int64).sum())
        return sums, counts, total


@dataclass(frozen=True)
class AssignStep:
    """Returns the nearest centre of every row of a block."""

    centres: NDArray[np.float32]

    def __call__(self, piece: Piece) -> NDArray[np.int32]:
        return np.concatenate(piece.by_cell(lambda rows: nearest_centres(rows, self.centres)[0]))


def build_clusters(
    vectors: NDArray[np.float32],
    n_clusters: int,
    rng: np.random.Generator,
    engine: Engine | None = None,
    among: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the labels (n,) and unit centres (c x d) of unit rows (n x d); `among` (n,) are those that are clustered,
    and the others take the label of their nearest centre.

    Spherical k-means (Dhillon and Modha, 2001) from k-means++ seeds (Arthur and Vassilvitskii, 2007) among 16,384 rows
    or 8 a cluster. Every step is mapped over the cells, and sums are exact, so that no order of adding matters.
    Clusters are numbered by size, largest first; ties go by the first row. Empty clusters are dropped.
    """
    engine = engine or LocalEngine(workers=1)
    among = np.ones(len(vectors), dtype=bool) if among is None else among
    centres = _seeds(vectors, np.flatnonzero(among), n_clusters, rng)
    parts = pieces(vectors, engine.block_cells)
    blocks = [(part, among[part.start : part.stop]) for part in parts]
    n_rows, before = int(among.sum()), -np.inf
    for _ in range(_STEPS):
        results = list(engine.map(LloydStep(centres), blocks))
        sums = np.sum([each[0] for each in results], axis=0)
        mean = sum(each[2] for each in results) / 1e5 / n_rows
        centres = _unit(sums, centres)
        if mean - before < _LEAST_GAIN:
            break
        before = mean
    labels = np.concatenate(list(engine.map(AssignStep(centres), parts)))
    labels, centres = _number_by_size(labels, centres, among)
    stray = np.flatnonzero(labels < 0)  # rows that are not clustered, nearest to a centre that was dropped
    labels[stray] = nearest_centres(vectors[stray], centres)[0]
    return labels, centres


def _seeds(
    vectors: NDArray[np.float32], places: NDArray[np.int64], n_clusters: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    n_clusters = max(1, min(n_clusters, len(places)))
    seed = int(rng.integers(2**31))
    n_rows = max(SEED_ROWS, _SEED_ROWS_A_CLUSTER * n_clusters)
    if n_rows < len(places):
        places = np.sort(np.random.default_rng(seed).choice(places, n_rows, replace=False))
    with threadpool_limits(1):
        return np.asarray(kmeans_plusplus(np.asarray(vectors[places]), n_clusters, random_state=seed)[0])


def _unit(sums: NDArray[np.float64], before: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sums scaled to length one; the centre from before where there is none to scale."""
    lengths = np.sqrt((sums**2).sum(axis=1, keepdims=True))
    return np.where(lengths > 1e-9, sums / np.maximum(lengths, 1e-9), before).astype(np.float32)


def nearest_centres(
    rows: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the nearest centre of every row, and its cosine, rounded to 1e-5 so that ties go to the lower number."""
    cosine = np.round(rows @ centres.T, 5)
    labels = np.argmax(cosine, axis=1)
    return labels.astype(np.int32), cosine[np.arange(len(rows)), labels]


def _number_by_size(
    labels: NDArray[np.int32], centres: NDArray[np.float32], among: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    used, first, sizes = np.unique(labels[among], return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    renumbered = np.full(len(centres), -1, dtype=np.int32)
    renumbered[used[order]] = np.arange(len(used), dtype=np.int32)
    kept = np.ascontiguousarray(centres[used[order]], dtype=np.float32)
    return renumbered[labels], kept


def cosine_to_centre(
    vectors: NDArray[np.float32], labels: NDArray[np.int32], centres: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Cosine of every row to the centre of its own cluster (n,), rounded to 1e-5."""
    cosine = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        cosine[rows] = np.einsum("nd,nd->n", vectors[rows], centres[labels[rows]])
    return np.round(cosine, 5)


def place_in_cluster(labels: NDArray[np.int32], n_clusters: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For rows in some order: how many rows of the same cluster come before each (n,), and the clusters' sizes (c,)."""
    by_cluster = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=n_clusters)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.empty(len(labels), dtype=np.int64)
    place[by_cluster] = np.arange(len(labels)) - starts[labels[by_cluster]]
    return place, sizes
