"""`influence-classifier`: high in influence on the target and in its words, ranks added."""

from __future__ import annotations

import numpy as np

from curate.strategies.influence import describe_influence
from curate.strategies.types import Candidates, Picks
from curate.strategies.weighted import ranks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Return the k rows with the largest sum of two ranks: of influence a token, and of log odds of the target's words.

    The two know different things: one what a model learns from a row, the other where the row comes from.
    """
    influence, odds = candidates.scores["influence"], candidates.scores["target_words"]
    both = ranks(influence) + ranks(odds)
    places = candidates.open()
    best = places[np.argsort(-both[places], kind="stable")[:k]]
    return Picks(
        best,
        [f"{describe_influence(influence[i])}, log odds {odds[i]:.3f} of the target set" for i in best.tolist()],
    )
