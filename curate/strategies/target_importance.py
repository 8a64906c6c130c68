"""`target-importance`: drawn at random, the rows like the target set more often."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks
from curate.strategies.weighted import weighted_order


def select(candidates: Candidates, k: int, rng: np.random.Generator, sharpness: float) -> Picks:
    """Return k rows drawn with weights exp(sharpness x log odds of the target set by their words).

    With a sharpness of 1 the weights are the ratio of the target's density to the pool's, which is importance
    resampling (DSIR: Xie et al., 2023, arXiv 2302.03169); there the ratio comes from counts of hashed n-grams, here
    from a classifier over them.
    """
    odds = candidates.scores["target_words"]
    order = weighted_order(candidates, sharpness * odds, rng)[:k]
    return Picks(order, [f"drawn with log odds {odds[i]:.3f} of the target set" for i in order.tolist()])
