"""Clusters of unit vectors with scikit-learn, the same on any number of threads."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

FULL_KMEANS_ROWS = 20_000  # above this, mini-batches
_BLOCK = 16_384


def default_n_clusters(n_rows: int, k: int) -> int:
    """About 16 picks a cluster, at least 8 clusters, never more than a quarter of the rows."""
    return max(1, min(max(8, k // 16), n_rows // 4))


def build_clusters(
    vectors: NDArray[np.float32], n_clusters: int, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Labels (n,) and unit centres (c x d) of unit rows (n x d).

    k-means from k-means++ seeds (Arthur and Vassilvitskii, 2007), in mini-batches above 20,000 rows (Sculley, 2010). It
    runs on one thread, because partial sums added in another order differ in their last bits and can move a row.
    Clusters are numbered by size, largest first; ties go by the first row. Empty clusters are dropped.
    """
    n_clusters = max(1, min(n_clusters, len(vectors)))
    seed = int(rng.integers(2**31))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if len(vectors) <= FULL_KMEANS_ROWS:
            model = KMeans(n_clusters, n_init=1, max_iter=50, random_state=seed)
        else:
            model = MiniBatchKMeans(n_clusters, n_init=1, batch_size=4096, max_iter=20, random_state=seed)
        model.fit(vectors)
    centres = np.asarray(model.cluster_centers_, dtype=np.float32)
    lengths = np.linalg.norm(centres, axis=1, keepdims=True)
    centres = np.where(lengths > 1e-12, centres / np.maximum(lengths, 1e-12), vectors[:1])
    labels = assign(vectors, centres)
    return _number_by_size(labels, centres)


def _number_by_size(
    labels: NDArray[np.int32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    used, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    renumbered = np.empty(len(centres), dtype=np.int32)
    renumbered[used[order]] = np.arange(len(used), dtype=np.int32)
    return renumbered[labels], np.ascontiguousarray(centres[used[order]], dtype=np.float32)


def assign(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest centre of every row (n,): largest cosine, rounded to 1e-5 so that ties go to the lower number."""
    labels = np.empty(len(vectors), dtype=np.int32)
    for start in range(0, len(vectors), _BLOCK):
        cosine = np.round(vectors[start : start + _BLOCK] @ centres.T, 5)
        labels[start : start + _BLOCK] = np.argmax(cosine, axis=1)
    return labels


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
