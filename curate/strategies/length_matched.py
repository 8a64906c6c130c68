"""`length-matched`: random, with the pool's length profile."""

from __future__ import annotations

import itertools

import numpy as np

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """One row at random from each of k strata of equal size, cut from the rows in order of their token count.

    Stratified sampling with proportional allocation (Cochran, Sampling Techniques, 1977, chapter 5): the picks have
    the mean and the spread of the pool's lengths with far less noise than `random`. In random order.
    """
    places = candidates.open()
    k = min(k, len(places))
    # Rows of one length are in random order, so that a cut between strata favours none of them.
    shuffled = candidates.shuffled(places, rng)
    by_length = shuffled[np.argsort(candidates.token_counts[shuffled], kind="stable")]
    edges = np.arange(k + 1) * len(places) // max(k, 1)
    if candidates.luck is None:
        order = rng.permutation(by_length[rng.integers(edges[:-1], edges[1:])])
    else:
        strata = itertools.pairwise(edges.tolist())
        luckiest = [low + int(np.argmin(candidates.luck[by_length[low:high]])) for low, high in strata]
        order = candidates.shuffled(by_length[luckiest], rng)
    return Picks(order, [f"drawn among rows of about {candidates.token_counts[i]} tokens" for i in order])
