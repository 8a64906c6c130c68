"""`best-of-draws`: of many draws that were trained, the one with the least loss on rows kept apart."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Return the k rows that come first in the best of the draws that `evalsuite best-of-draws` trained.

    The cheapest baseline of all: whatever is cleverer must beat it at the same number of trainings. A draw is valued by
    training on it. Valuing it by how near its vectors are to the rows kept apart would only choose the draw most like
    the pool, and what removes a draw's chance that way (`kmeans`, herding) was not shown to beat random.
    """
    place = candidates.scores["draw_place"]
    places = candidates.open()
    order = places[np.argsort(place[places], kind="stable")[:k]]
    known = np.isfinite(place[order])
    return Picks(order, ["in the best draw" if mine else "not in the best draw" for mine in known.tolist()])
