"""What each cluster gives: turns, and shares of a number of picks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.strategies.types import Candidates
from curate.vectors.clustering import place_in_cluster


def take_shares(candidates: Candidates, order: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The first k rows when every cluster gives the same part of its rows, as they come in `order`.

    A cluster's t-th row is due when its share of all picks reaches t - 1/2, so that shares are right at every k.
    Standing picks count.
    """
    labels = candidates.labels
    sizes = np.bincount(labels, minlength=len(candidates.centres))
    taken = np.bincount(labels[candidates.picked], minlength=len(sizes))
    place, _ = place_in_cluster(labels[order], len(sizes))
    due = (place + taken[labels[order]] + 0.5) / sizes[labels[order]]
    return np.asarray(order[np.lexsort((labels[order], due))[:k]])


def take_turns(candidates: Candidates, order: NDArray[np.int64], k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first k rows when clusters take turns, each giving its rows as they come in `order`; and their turns, from 1.

    Turns that standing picks took count: a cluster that has given fewer goes first. In a turn larger clusters go first.
    """
    labels, n_clusters = candidates.labels, len(candidates.centres)
    taken = np.bincount(labels[candidates.picked], minlength=n_clusters)
    place, _ = place_in_cluster(labels[order], n_clusters)
    turn = place + taken[labels[order]]
    first = np.lexsort((labels[order], turn))[:k]
    return order[first], turn[first] + 1
