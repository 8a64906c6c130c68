"""`kmeans-ifd`: from every cluster its most difficult rows."""

from __future__ import annotations

import numpy as np

from curate.strategies.ifd import describe_ifd
from curate.strategies.shares import take_shares
from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """The same part of every cluster, by instruction-following difficulty from the largest down.

    Lv et al., 2025 (arXiv 2504.12687): k-means over instructions, then the first m% of every cluster. The paper ranks
    by difficulty alone, without a bound at 1, and so does this. Rows too long to be scored come last.
    """
    ifd = candidates.scores["ifd"]
    places = candidates.open()
    ranked = places[np.argsort(-np.nan_to_num(ifd[places], nan=-np.inf, posinf=1e300), kind="stable")]
    order = take_shares(candidates, ranked, k)
    return Picks(order, [f"cluster {candidates.labels[i]}: {describe_ifd(ifd[i])}" for i in order.tolist()])
