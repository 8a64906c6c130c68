"""`first`: the head of the file."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """The k candidates that come first in the pool: the one strategy that depends on the pool's order."""
    places = candidates.open()
    order = places[np.argsort(candidates.row_index[places], kind="stable")[:k]]
    return Picks(order, [f"row {candidates.row_index[i]} of the pool" for i in order])
