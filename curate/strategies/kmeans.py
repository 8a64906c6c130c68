"""`kmeans`: the same number of rows from every cluster."""

from __future__ import annotations

import numpy as np

from curate.strategies.shares import take_turns
from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """k rows taken in rounds: each round takes one row, at random, from every cluster that has one left.

    Stratified sampling with equal allocation (Cochran, Sampling Techniques, 1977, chapter 5): clusters get equal
    shares; one too small for its share gives all it has and the others share the rest. In the last round, when fewer
    are wanted than clusters remain, the larger clusters come first.
    """
    order, turns = take_turns(candidates, candidates.shuffled(candidates.open(), rng), k)
    labels = candidates.labels[order]
    return Picks(order, [f"cluster {c}: {turn}. drawn" for c, turn in zip(labels, turns, strict=True)])
