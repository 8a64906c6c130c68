"""`first`: the head of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.strategies import Candidates, Picks

if TYPE_CHECKING:
    import numpy as np


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """The k candidates that come first in the pool: the one strategy that depends on the pool's order."""
    import numpy as np

    places = candidates.open()
    order = places[np.argsort(candidates.row_index[places], kind="stable")[:k]]
    return Picks(order, [f"row {candidates.row_index[i]} of the pool" for i in order])
