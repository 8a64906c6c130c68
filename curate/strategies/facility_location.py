"""`facility-location`: the rows that the pool is nearest to."""

from __future__ import annotations

import numpy as np

from curate.strategies.greedy_coverage import Coverage, move_to_medoids
from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator, evaluated: int, rounds: int) -> Picks:
    """Greedy maximisation of the facility-location function, each row's cosine to its nearest pick, summed; then every
    pick is moved, `rounds` times, to the row that serves the rows nearest to it best.

    Greedy picks reach at least 1 - 1/e of the best possible value (Nemhauser, Wolsey and Fisher, 1978); a note says how
    much the picks are proven to reach on the rows evaluated, by the bound of the same paper: no k picks gain more than
    the k largest single gains left. Larger pools are valued on a random sample of `evaluated` rows while greedy runs;
    every row may be picked all the same, and the moves look at all. Method, and what lost: docs/strategies.md.
    """
    coverage = Coverage(candidates, k, rng, evaluated)
    greedy, gains = coverage.pick(k)
    order, value = move_to_medoids(candidates, greedy, rounds)
    bound, n = coverage.bound(), len(coverage.rows)
    proven = coverage.value([*candidates.picked.tolist(), *order])
    notes = [f"facility-location: mean cosine of a row to its nearest pick {value / len(candidates):.4f}."]
    if bound > 0:
        which = "" if n == len(candidates) else f"on {n} rows, a random sample, it is {proven / n:.4f}; there "
        notes[0] = (
            f"{notes[0][:-1]}; {which}no {len(candidates.picked) + k} picks can exceed {bound / n:.4f}, so this is at "
            f"least {100 * min(1.0, proven / bound):.1f}% of the best{' there' if which else ''}."
        )
    reasons = [
        f"brought {gain:.3f} of cosine over {n} rows"
        + ("" if pick == first else ", then moved to serve its rows better")
        for pick, first, gain in zip(order, greedy, gains.tolist(), strict=True)
    ]
    return Picks(np.array(order, dtype=np.int64), reasons, notes)
