"""`perplexity`: the answers a small model finds least likely."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """The k rows whose output, after the prompt, has the largest perplexity; ties in row_id order.

    The baseline of Li et al., 2024 (arXiv 2402.00530). Garbage is unlikely too: clean first. Rows too long to be
    scored come last.
    """
    perplexity = candidates.scores["perplexity"]
    places = candidates.open()
    order = places[np.argsort(-np.nan_to_num(perplexity[places], nan=-np.inf, posinf=1e300), kind="stable")[:k]]
    return Picks(
        order,
        [
            "too long to be scored" if perplexity[i] != perplexity[i] else f"perplexity {perplexity[i]:.2f}"
            for i in order.tolist()
        ],
    )
