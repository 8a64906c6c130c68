"""`target-words`: the rows whose words are those of the target set."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator, rounds: int) -> Picks:
    """Return the k rows with the largest log odds of coming from the target set (`--target FILE`) by their words.

    What `curate.scores.target_words` computes: seconds on a CPU, no encoder. Instructions alone do as a target. The
    odds that are handed in come from a classifier that was fitted `rounds` times more, on its own best rows too.
    """
    odds = candidates.scores["target_words"]
    places = candidates.open()
    best = places[np.argsort(-odds[places], kind="stable")[:k]]
    return Picks(best, [f"log odds {odds[i]:.3f} of the target set by its words" for i in best.tolist()])
