"""`mixture`: at random, by the weights of rows or the strata's shares of the tokens that a mixing law found best."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks
from curate.strategies.weighted import weighted_order

LAST = -1_000.0  # a logarithm so small that no luck makes up for it


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Return k rows drawn by their weights, or by shares of strata: what `evalsuite mixture` fitted is what is scored.

    Mixing laws: Liu et al., 2024 (RegMix, arXiv 2407.01492); Ye et al., 2024 (arXiv 2403.16952). Regression on what
    was trained on: datamodels (Ilyas et al., 2022, arXiv 2202.00622).
    """
    return by_weights(candidates, k, rng) if "log_weight" in candidates.scores else by_strata(candidates, k, rng)


def by_weights(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Return k rows drawn without replacement by their weights; rows without one come last."""
    log_weight = candidates.scores["log_weight"]
    order = weighted_order(candidates, np.nan_to_num(log_weight, nan=LAST), rng)[:k]
    return Picks(order, [_describe(each) for each in log_weight[order].tolist()])


def _describe(log_weight: float) -> str:
    if np.isnan(log_weight):
        return "has no weight: kept apart when the weights were fitted"
    return f"drawn with weight {np.exp(log_weight):.2f} by its source, length, prompt, form, repeats and vector"


def by_strata(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Return the first k rows when every stratum gives its share of the tokens.

    Rows of a stratum come in random order, and one is due when its stratum's share of all tokens reaches the row's
    middle, so that shares are right at every k and for every budget; a stratum that runs out leaves its part to the
    others. Standing picks count. Rows without a share come last.
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
