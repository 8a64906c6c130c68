"""`kmeans-centroid`: from every cluster the rows nearest to its centre."""

from __future__ import annotations

import numpy as np

from curate.strategies.shares import take_turns
from curate.strategies.types import Candidates, Picks
from curate.vectors.clustering import cosine_to_centre


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """k rows taken in rounds, as `kmeans` does, each time the row of the cluster that is nearest to its centre.

    The prototypes of Sorscher et al., 2022 (arXiv 2206.14486), with equal shares. Nothing in it is random once the
    clusters stand.
    """
    places = candidates.open()
    cosine = cosine_to_centre(candidates.embeddings, candidates.labels, candidates.centres)
    order, turns = take_turns(candidates, places[np.argsort(-cosine[places], kind="stable")], k)
    reasons = [
        f"cluster {candidates.labels[i]}: {turn}. from its centre (cosine {cosine[i]:.4f})"
        for i, turn in zip(order.tolist(), turns.tolist(), strict=True)
    ]
    return Picks(order, reasons)
