"""`mixture`: at random inside strata, each giving the share of the tokens that a mixing law found for it."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Return the first k rows when every stratum gives its share of the tokens (`evalsuite mixture` finds the shares).

    Rows of a stratum come in random order, and one is due when its stratum's share of all tokens reaches the row's
    middle, so that shares are right at every k and for every budget; a stratum that runs out leaves its part to the
    others. Standing picks count. Rows without a share come last. Mixing laws: Liu et al., 2024 (RegMix, arXiv
    2407.01492); Ye et al., 2024 (arXiv 2403.16952).
    """
    stratum, share = candidates.scores["stratum"], candidates.scores["stratum_share"]
    tokens = candidates.token_counts.astype(np.float64)
    order = candidates.shuffled(candidates.open(), rng)
    due = np.full(len(order), np.inf)
    for each in np.unique(stratum):
        mine = np.flatnonzero(stratum[order] == each)
        given = tokens[candidates.picked][stratum[candidates.picked] == each].sum()
        middle = given + np.cumsum(tokens[order[mine]]) - tokens[order[mine]] / 2
        with np.errstate(divide="ignore"):
            due[mine] = middle / share[order[mine]]
    first = order[np.argsort(due, kind="stable")[:k]]
    return Picks(first, [f"drawn in a stratum that gives {share[i]:.1%} of the tokens" for i in first.tolist()])
