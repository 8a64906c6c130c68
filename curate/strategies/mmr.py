"""`mmr`: typical of the pool, unlike what is picked."""

from __future__ import annotations

import numpy as np

from curate.strategies.greedy_nearest import pick_lazily
from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator, relevance: float) -> Picks:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998), with the pool's mean direction as the query.

    Each pick maximises relevance * cosine to the mean - (1 - relevance) * cosine to the nearest pick so far. The first
    is the row nearest to the mean; ties go by row_id. Where the mean has no direction, every row is equally relevant.
    """
    mean = candidates.embeddings.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    query = (mean / length if length > 1e-6 else mean * 0).astype(np.float32)
    to_mean = np.round((candidates.embeddings @ query).astype(np.float64), 5)
    order, cosines = pick_lazily(candidates, k, relevance * to_mean, 1 - relevance, None)
    reasons = [
        f"cosine {to_mean[i]:.4f} to the pool's mean" + (f", {cosine:.4f} to its nearest earlier pick" * (cosine > -2))
        for i, cosine in zip(order.tolist(), cosines.tolist(), strict=True)
    ]
    return Picks(order, reasons)
