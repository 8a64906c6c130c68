"""`kmeans`: the same number of rows from every cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.strategies import Candidates, Picks

if TYPE_CHECKING:
    import numpy as np


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """k rows taken in rounds: each round takes one row, at random, from every cluster that has one left.

    So clusters get equal shares; one too small for its share gives all it has and the others share the rest. In the
    last round, when fewer are wanted than clusters remain, the larger clusters come first.
    """
    import numpy as np

    shuffled = rng.permutation(len(candidates))
    labels = candidates.labels[shuffled]
    by_cluster = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=len(candidates.centres))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    turn = np.empty(len(candidates), dtype=np.int64)
    turn[by_cluster] = np.arange(len(candidates)) - starts[labels[by_cluster]]
    order = np.lexsort((labels, turn))[:k]
    drawn = np.bincount(labels[order], minlength=len(sizes))
    reasons = [
        f"cluster {labels[i]}: {turn[i] + 1}. of {drawn[labels[i]]} drawn from {sizes[labels[i]]}" for i in order
    ]
    return Picks(shuffled[order], reasons)
