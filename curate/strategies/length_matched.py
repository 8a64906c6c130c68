"""`length-matched`: random, with the pool's length profile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from curate.strategies.types import Candidates, Picks


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """One row at random from each of k strata of equal size, cut from the rows in order of their token count.

    Stratified sampling with proportional allocation (Cochran, Sampling Techniques, 1977, chapter 5): the picks have
    the mean and the spread of the pool's lengths with far less noise than `random`. In random order. Standing picks
    count: each takes a stratum for itself, its own or the nearest that is left, and k others give a row.
    """
    places, standing = candidates.open(), candidates.picked
    k = min(k, len(places))
    # Rows of one length are in random order, so that a cut between strata favours none of them.
    shuffled = np.concatenate([candidates.shuffled(places, rng), standing])
    by_length = shuffled[np.argsort(candidates.token_counts[shuffled], kind="stable")]
    n_strata = k + len(standing)
    edges = np.arange(n_strata + 1) * len(by_length) // max(n_strata, 1)
    stratum = np.searchsorted(edges, np.flatnonzero(np.isin(by_length, standing)), side="right") - 1
    free = np.delete(np.arange(n_strata), _spread(stratum, n_strata))
    low, high = edges[free], edges[free + 1]
    if candidates.luck is None:
        order = rng.permutation(by_length[rng.integers(low, high)])
    else:
        strata = zip(low.tolist(), high.tolist(), strict=True)
        luckiest = [start + int(np.argmin(candidates.luck[by_length[start:stop]])) for start, stop in strata]
        order = candidates.shuffled(by_length[luckiest], rng)
    return Picks(order, [f"drawn among rows of about {candidates.token_counts[i]} tokens" for i in order])


def _spread(stratum: NDArray[np.int64], n_strata: int) -> NDArray[np.int64]:
    """Return a stratum for each standing pick alone, near the one it is in (ascending): least squares of the distance.

    A stratum with a standing pick in it is always among them, so those left hold open rows alone.
    """
    if not len(stratum):
        return stratum
    number = np.arange(len(stratum))
    moved = np.rint(isotonic_regression(stratum - number).x).astype(np.int64)
    return np.asarray(np.clip(moved, 0, n_strata - len(stratum)) + number)
