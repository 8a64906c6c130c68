"""`semdedup`: drop what other rows of the cluster already say, until k are left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.strategies.types import Candidates, Picks
from curate.vectors.clustering import cosine_to_centre
from curate.vectors.neighbours import each_block

_BLOCK = 1024


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """The k rows that SemDeDup keeps at the one threshold where k are kept (Abbas et al., 2023, arXiv 2303.09540).

    In each cluster rows are ordered from the one least like the centre to the one most like it, and a row is dropped
    when its cosine to an earlier one, itself kept or not, is above the threshold; so of a group of alike rows the one
    farthest from the centre stays, as in the paper (its code can also keep the nearest, or a random one). Standing
    picks stay whatever is like them, so they come before all others of their cluster. Nothing is random once the
    clusters stand.
    """
    to_centre = cosine_to_centre(candidates.embeddings, candidates.labels, candidates.centres)
    stands = np.isin(np.arange(len(candidates)), candidates.picked)
    order = np.lexsort((to_centre, ~stands, candidates.labels))
    edges = np.flatnonzero(np.diff(candidates.labels[order])) + 1
    repeated = np.empty(len(candidates), dtype=np.float32)
    for members in np.split(order, edges):
        repeated[members] = _cosine_to_earlier(candidates.embeddings[members])
    places = candidates.open()
    kept = places[np.argsort(repeated[places], kind="stable")[:k]]
    before = ("that stands or is " if stands.any() else "") + "farther from its cluster's centre"
    reasons = [
        "farthest from its cluster's centre" if repeated[i] < -1 else f"cosine {repeated[i]:.4f} to a row {before}"
        for i in kept.tolist()
    ]
    return Picks(kept, reasons)


def _cosine_to_earlier(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest cosine of each row to one before it (n,), rounded to 1e-5; -2 for the first."""

    def search(rows: slice) -> NDArray[np.float32]:
        cosine = vectors[rows] @ vectors[: rows.stop].T
        later = np.arange(rows.stop) >= np.arange(rows.start, rows.stop)[:, None]
        cosine[later] = -2
        return np.asarray(cosine.max(axis=1))

    return np.round(np.concatenate(list(each_block(len(vectors), _BLOCK, search))), 5)
