"""`well-formed`: drawn at random among the rows whose answer has the form of one to take as it is."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks
from curate.strategies.weighted import weighted_order


def select(candidates: Candidates, k: int, rng: np.random.Generator, sharpness: float, power: float) -> Picks:
    """Return k rows drawn with weights exp(sharpness x form) x characters^-power.

    `form` is the share of conditions that `curate.scores.form` looks for and the row's answer meets; characters are
    those of the instruction: people type short prompts, and a model answers best what it was trained on.
    """
    form = candidates.scores["well_formed"]
    weights = sharpness * form - power * np.log(np.maximum(1.0, candidates.prompt_chars))
    order = weighted_order(candidates, weights, rng)[:k]
    return Picks(order, [f"drawn, {form[i]:.0%} of the conditions of a well-formed answer" for i in order.tolist()])
