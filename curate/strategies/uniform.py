"""`random`: uniformly at random, without replacement."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """The first k of a random permutation, so that a smaller k picks a part of what a larger one does."""
    order = candidates.shuffled(candidates.open(), rng)[:k]
    done = len(candidates.picked)
    return Picks(order, [f"drawn {done + place}. at random" for place in range(1, len(order) + 1)])
