"""A two-dimensional map of the pool that scales: t-SNE of the cluster centres, rows placed among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

_NEIGHBOURS = 4
_TEMPERATURE = 0.05
_BLOCK = 8192


def lay_out(embeddings: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map coordinates (n x 2) for unit rows (n x d), given the cluster centres (c x d).

    The centres are laid out by t-SNE (van der Maaten and Hinton, 2008) and every row is put at the mean of its
    nearest centres' places, weighted by a softmax of its cosine to them. Distances on the map are a reading aid, not a
    measure. Rounded to 1e-3, so that last-bit differences of the arithmetic do not reach the file.
    """
    places = _place_centres(centres)
    out = np.zeros((len(embeddings), 2), dtype=np.float64)
    neighbours = min(_NEIGHBOURS, len(centres))
    for start in range(0, len(embeddings), _BLOCK):
        cosine = np.round(embeddings[start : start + _BLOCK] @ centres.T, 5)
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours]
        near = np.take_along_axis(cosine, nearest, axis=1).astype(np.float64)
        weight = np.exp((near - near[:, :1]) / _TEMPERATURE)
        weight /= weight.sum(axis=1, keepdims=True)
        out[start : start + _BLOCK] = np.einsum("nk,nkd->nd", weight, places[nearest])
    return np.round(out, 3).astype(np.float32)


def _place_centres(centres: NDArray[np.float32]) -> NDArray[np.float64]:
    if len(centres) < 5:
        angles = 2 * np.pi * np.arange(len(centres)) / max(len(centres), 1)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with threadpool_limits(1):
        tsne = TSNE(init="pca", perplexity=min(15.0, (len(centres) - 1) / 3), random_state=0, n_jobs=1)
        placed = tsne.fit_transform(np.asarray(centres, dtype=np.float64))
    return np.asarray(placed / np.abs(placed).max(), dtype=np.float64)
