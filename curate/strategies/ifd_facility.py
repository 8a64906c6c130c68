"""`ifd-facility`: the difficult part of the pool, covered."""

from __future__ import annotations

import numpy as np

from curate.strategies.facility_location import select as cover
from curate.strategies.ifd import describe_ifd, rank_by_ifd
from curate.strategies.types import Candidates, Picks


def select(
    candidates: Candidates, k: int, rng: np.random.Generator, share: float, evaluated: int, rounds: int
) -> Picks:
    """`facility-location` among the `share` of the pool with the largest instruction-following difficulty below 1.

    The two steps of Superfiltering with diversity (Li et al., 2024, arXiv 2402.00530). The part grows where it holds
    fewer than k open rows.
    """
    ifd = candidates.scores["ifd"]
    by_rank = np.argsort(rank_by_ifd(ifd))
    barred = np.zeros(len(candidates), dtype=bool) if candidates.barred is None else candidates.barred
    n_open = np.cumsum(~barred[by_rank])
    n_rows = max(int(np.ceil(share * len(candidates))), int(np.searchsorted(n_open, min(k, n_open[-1]))) + 1)
    part = np.union1d(by_rank[:n_rows], candidates.picked)
    picks = cover(candidates.take(part), k, rng, evaluated, rounds)
    order = part[picks.indices]
    reasons = [f"{describe_ifd(ifd[i])}; {why}" for i, why in zip(order.tolist(), picks.reasons, strict=True)]
    notes = [f"ifd-facility: {len(part)} of {len(candidates)} rows are the difficult part.", *picks.notes]
    return Picks(order, reasons, notes)
