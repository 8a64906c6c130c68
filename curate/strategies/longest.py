"""`longest`: long answers, inside the bounds."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """The k rows with the longest output in characters; ties in row_id order.

    Zhao et al., 2024 (arXiv 2402.04833) take the longest responses in tokens; `--max-tokens` bounds them here.
    """
    places = candidates.open()
    order = places[np.argsort(-candidates.output_chars[places], kind="stable")[:k]]
    return Picks(order, [f"output of {candidates.output_chars[i]} characters" for i in order])
