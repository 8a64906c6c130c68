"""`facility-location`: the rows that the pool is nearest to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.coverage_greedy import Coverage
from curate.strategies import Candidates, Picks

if TYPE_CHECKING:
    import numpy as np


def select(candidates: Candidates, k: int, rng: np.random.Generator, evaluated: int) -> Picks:
    """Greedy maximisation of the facility-location function: each row's cosine to its nearest pick, summed.

    Greedy picks reach at least 1 - 1/e of the best possible value (Nemhauser, Wolsey and Fisher, 1978); a note says how
    much they are proven to reach on the rows evaluated, by the bound of the same paper: no k picks gain more than the k
    largest single gains left. Pools larger than `evaluated` rows are valued on a random sample of that size; every
    row may be picked all the same. Method and what else was tried: docs/strategies.md.
    """
    import numpy as np

    coverage = Coverage(candidates, k, rng, evaluated)
    order, gains = coverage.pick(k)
    value, bound = coverage.value_and_bound()
    n = len(coverage.rows)
    sample = "rows" if n == len(candidates) else "rows sampled"
    notes = []
    if bound > 0:
        notes = [
            f"facility-location: mean cosine {value / n:.4f} of {n} {sample} to their nearest pick; "
            f"no {len(candidates.picked) + k} picks can exceed {bound / n:.4f}, so this is at least "
            f"{100 * value / bound:.1f}% of the best."
        ]
    reasons = [f"brings {gain:.3f} of cosine over {n} {sample}" for gain in gains.tolist()]
    return Picks(np.asarray(order, dtype=np.int64), reasons, notes)
