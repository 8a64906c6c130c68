"""`short-rows`: drawn at random, short rows more often."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks
from curate.strategies.weighted import weighted_order


def select(candidates: Candidates, k: int, rng: np.random.Generator, power: float) -> Picks:
    """Return k rows drawn with weights tokens^-power: more rows, and so more ends of answers, in as many tokens."""
    order = weighted_order(candidates, -power * np.log(candidates.token_counts.astype(np.float64)), rng)[:k]
    return Picks(order, [f"drawn, {candidates.token_counts[i]} tokens" for i in order.tolist()])
