"""Letting a strategy choose among the candidates, by rows or by tokens, at once or by parts."""

from __future__ import annotations

import zlib

import numpy as np

from curate.config import SelectConfig
from curate.strategies.budget import pick_rows, pick_tokens
from curate.strategies.parts import WHOLE_ROWS, pick_by_parts
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates, Picks


def choose(config: SelectConfig, candidates: Candidates) -> Picks:
    """Return exactly k picks, or picks within the token budget, no two of them near-duplicates.

    Each strategy draws from a stream of its own: with one stream for all, `random` and `kmeans` of one seed would share
    most of their picks, and draws that comparisons take for independent would not be. Coordinated draws share the rows'
    own random numbers instead, on purpose: they are compared draw by draw.
    """
    bound_select = STRATEGIES[config.strategy].bind(config.strategy_options)
    seed, budget = [config.seed, 2, zlib.crc32(config.strategy.encode())], config.token_budget

    def pick_from(rows: Candidates, rng: np.random.Generator) -> Picks:
        if budget is None:
            return pick_rows(bound_select, rows, config.k, rng, config.near_duplicate)
        return pick_tokens(bound_select, rows, budget, rng, config.near_duplicate)

    by_parts = STRATEGIES[config.strategy].by_parts
    if by_parts and len(candidates) > WHOLE_ROWS:
        return pick_by_parts(pick_from, candidates, seed, config.strategy, by_parts)
    return pick_from(candidates, np.random.default_rng(seed))
