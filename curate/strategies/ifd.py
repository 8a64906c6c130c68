"""`ifd`: the rows whose instruction helps a small model least."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """The k rows with the largest instruction-following difficulty below 1; ties in row_id order.

    Li et al., 2024 (Superfiltering, arXiv 2402.00530), scored by a small model. From 1 on the instruction makes the
    answer less likely, so that the two do not belong together: such rows come after all others, the nearest to 1
    first, and rows too long to be scored last.
    """
    places = candidates.open()
    order = places[rank_by_ifd(candidates.scores["ifd"])[places].argsort(kind="stable")[:k]]
    return Picks(order, [describe_ifd(candidates.scores["ifd"][i]) for i in order.tolist()])


def rank_by_ifd(ifd: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of every row (n,) when those below 1 come from the largest down, then those from 1 on upwards, then NaN."""
    known = np.nan_to_num(ifd, nan=np.inf)
    order = np.lexsort((np.where(known < 1, -known, known), known >= 1))
    rank = np.empty(len(ifd), dtype=np.int64)
    rank[order] = np.arange(len(ifd))
    return rank


def describe_ifd(ifd: float) -> str:
    """The reason of a row picked for its difficulty."""
    if ifd != ifd:
        return "too long to be scored"
    return f"instruction-following difficulty {ifd:.3f}"
