"""`kcenter`: farthest first."""

from __future__ import annotations

import numpy as np

from curate.strategies.greedy_nearest import pick_lazily
from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """k-center greedy: each pick is the row with the smallest cosine to its nearest pick so far; the first is random.

    The farthest row from its pick is then at most twice as far (in angle) as k picks can make it (Gonzalez, 1985);
    Sener and Savarese, 2018 (arXiv 1708.00489) use it as a coreset. It collects outliers by design.
    """
    order, cosines = pick_lazily(candidates, k, np.zeros(len(candidates)), 1.0, rng)
    reasons = [
        "the first, at random" if np.isneginf(cosine) else f"cosine {cosine:.4f} to its nearest earlier pick"
        for cosine in cosines.tolist()
    ]
    return Picks(order, reasons)
