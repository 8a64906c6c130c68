"""What a plan of draws could show, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from evaluate_suite.statistics.pairs import CONFIDENCE, POWER
from evaluate_suite.statistics.spreads import Spread, Spreads


def smallest_shown(draws: Sequence[int]) -> float | None:
    """Return the smallest true difference that strategies of so many draws show 4 times in 5, in spreads of a draw.

    For the pair with the fewest draws, when the spreads come out alike and as they are, at the first and strictest step
    of Holm's correction over all pairs; rows and sharing of picks are left out. None with fewer than two strategies, or
    where one has a single draw.
    """
    if len(draws) < 2 or min(draws) < 2:
        return None
    own = {number: Spread(1.0, n) for number, n in enumerate(sorted(draws))}
    n_pairs = len(draws) * (len(draws) - 1) // 2
    error = Spreads(own).mixture([0, 1], [own[0], own[1]], 0.0, 2)
    return error.quantile(1 - (1 - CONFIDENCE) / n_pairs / 2) + error.quantile(POWER)
