"""Draws in which rows have weights: what `target-importance`, `short-rows` and others share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from curate.strategies.types import Candidates


def weighted_order(
    candidates: Candidates, log_weights: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the open rows in the order of a draw without replacement in which row i has weight exp(log_weights[i]).

    Every row gets the key -log(u) / weight and the smallest come first (Efraimidis and Spirakis, 2006). In a
    coordinated draw u is the row's own number, so that equal weights give exactly `random`'s order.
    """
    u = rng.random(len(candidates)) if candidates.luck is None else candidates.luck
    key = np.log(-np.log(np.clip(1 - u, 1e-300, 1 - 1e-16))) - log_weights
    places = candidates.open()
    return np.asarray(places[np.argsort(key[places], kind="stable")])


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each value's rank (n,), from -1 for the smallest to 1; ties share the mean of theirs, NaN is smallest."""
    known = np.nan_to_num(values, nan=-np.inf)
    _, group, sizes = np.unique(known, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - (sizes + 1) / 2
    return np.asarray(2 * middle[group] / max(1, len(values) - 1) - 1)


def normal_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each value's rank as a quantile of the standard normal distribution (n,)."""
    n = len(values)
    return np.asarray(stats.norm.ppf((ranks(values) * (n - 1) + n) / (2 * n)))
