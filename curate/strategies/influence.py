"""`influence`: the rows that move a small model furthest towards a lower loss on the target."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks
from curate.strategies.weighted import normal_scores, weighted_order


def select(candidates: Candidates, k: int, rng: np.random.Generator, sharpness: float) -> Picks:
    """Return the k rows of the largest influence a token, as `finetune influence` scored them, or a draw by them.

    With a `sharpness` of 0 the top rows are taken; above it rows are drawn with weights exp(sharpness x score), scores
    being ranks as quantiles of a normal distribution. A row's influence is the inner product of its loss's gradient
    with the target's, over a few checkpoints (TracIn: Pruthi et al., 2020, arXiv 2002.08484; LESS: Xia et al., 2024,
    arXiv 2402.04333). Rows without a score come last.
    """
    influence = candidates.scores["influence"]
    scores = normal_scores(influence)
    if sharpness:
        order = weighted_order(candidates, sharpness * scores, rng)[:k]
    else:
        places = candidates.open()
        order = places[np.argsort(-scores[places], kind="stable")[:k]]
    return Picks(order, [describe_influence(influence[i]) for i in order.tolist()])


def describe_influence(influence: float) -> str:
    """The reason of a row picked for its influence; a row of the target, or one too long, has none."""
    return "no influence was scored" if np.isnan(influence) else f"influence a token {influence:.3g}"
