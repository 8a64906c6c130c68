"""A two-dimensional map of the pool that scales: t-SNE of the cluster centres, rows placed among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from curate.engines.local import LocalEngine
from curate.engines.types import Engine
from curate.vectors.pieces import Piece, map_pieces

_NEIGHBOURS = 4
_TEMPERATURE = 0.05


@dataclass(frozen=True)
class PlaceStep:
    """Returns the map coordinates of the rows of a block, among the centres' `places` (c x 2)."""

    centres: NDArray[np.float32]
    places: NDArray[np.float64]

    def __call__(self, piece: Piece) -> NDArray[np.float32]:
        return np.concatenate(piece.by_cell(self._place))

    def _place(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        cosine = np.round(rows @ self.centres.T, 5)
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :_NEIGHBOURS]
        near = np.take_along_axis(cosine, nearest, axis=1).astype(np.float64)
        weight = np.exp((near - near[:, :1]) / _TEMPERATURE)
        weight /= weight.sum(axis=1, keepdims=True)
        places = np.round(np.einsum("nk,nkd->nd", weight, self.places[nearest]), 3)
        return np.asarray(places, dtype=np.float32)


def lay_out(
    embeddings: NDArray[np.float32], centres: NDArray[np.float32], engine: Engine | None = None
) -> NDArray[np.float32]:
    """Map coordinates (n x 2) for unit rows (n x d), given the cluster centres (c x d).

    The centres are laid out by t-SNE (van der Maaten and Hinton, 2008) and every row is put at the mean of its
    nearest centres' places, weighted by a softmax of its cosine to them. Distances on the map are a reading aid, not a
    measure. Rounded to 1e-3, so that last-bit differences of the arithmetic do not reach the file.
    """
    step = PlaceStep(centres, _place_centres(centres))
    return np.concatenate(list(map_pieces(engine or LocalEngine(workers=1), step, embeddings)))


def _place_centres(centres: NDArray[np.float32]) -> NDArray[np.float64]:
    if len(centres) < 5:
        angles = 2 * np.pi * np.arange(len(centres)) / max(len(centres), 1)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with threadpool_limits(1):
        tsne = TSNE(init="pca", perplexity=min(15.0, (len(centres) - 1) / 3), random_state=0, n_jobs=1)
        placed = tsne.fit_transform(np.asarray(centres, dtype=np.float64))
    return np.asarray(placed / np.abs(placed).max(), dtype=np.float64)
