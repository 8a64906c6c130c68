"""Other ways to compare strategies of few draws, beside ours, on the draws alone: what each costs and what it finds.

Of the rows only their part in the variance of a difference stays (a tenth of that between draws, known from 80 rows),
so that a data set takes milliseconds. Every way gives a p value to each of the 15 pairs of six strategies, and Holm's
correction follows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from evaluate_suite.statistics.spreads import Spread, Spreads

PAIRS = list(itertools.combinations(range(6), 2))
Array = NDArray[np.float64]
Way = Callable[[Array, Array, NDArray[np.int64]], Array]
ROWS_PART, ROWS_DF = 0.1, 79
EFFECT = 5.0  # of the last strategy over the others, in spreads of a usual draw


def welch(means: Array, variances: Array, n: NDArray[np.int64]) -> Array:
    """Each pair on its own: Student's t with Satterthwaite's degrees of freedom."""
    return _student(means, variances, n, n - 1)


def pooled(means: Array, variances: Array, n: NDArray[np.int64]) -> Array:
    """One variance for all strategies."""
    df = n - 1
    one = np.full(len(n), (df * variances).sum() / df.sum())
    at, second = _both()
    of_draws = one[0] * (1 / n[at] + 1 / n[second])
    total = of_draws + ROWS_PART
    pair_df = total**2 / (of_draws**2 / df.sum() + ROWS_PART**2 / ROWS_DF)
    return np.asarray(2 * stats.t.sf(np.abs(means[second] - means[at]) / np.sqrt(total), pair_df))


def larger_p(means: Array, variances: Array, n: NDArray[np.int64]) -> Array:
    """The larger of the two above."""
    return np.maximum(welch(means, variances, n), pooled(means, variances, n))


def moderated(means: Array, variances: Array, n: NDArray[np.int64]) -> Array:
    """Variances shrunk as far as they look alike: Smyth's moderated t (2004), its prior estimated from the six."""
    df = n - 1
    logs = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    excess = float(logs.var(ddof=1) - special.polygamma(1, df / 2).mean())
    if excess <= 0:
        return pooled(means, variances, n)
    half = 0.5 + 1 / excess
    for _ in range(20):
        trigamma = special.polygamma(1, half)
        half += trigamma * (1 - trigamma / excess) / special.polygamma(2, half)
    centre = np.exp(logs.mean() + special.digamma(half) - np.log(half))
    shrunk = (2 * half * centre + df * variances) / (2 * half + df)
    return _student(means, shrunk, n, np.minimum(2 * half + df, df.sum()))


def studentized_range(means: Array, variances: Array, n: NDArray[np.int64]) -> Array:
    """Tukey's and Kramer's: one variance, and the largest difference of six. Already corrected; Holm adds nothing."""
    df = n - 1
    one = float((df * variances).sum() / df.sum())
    at, second = _both()
    largest = np.abs(means[second] - means[at]) / np.sqrt((one * (1 / n[at] + 1 / n[second]) + ROWS_PART) / 2)
    grid = tuple(np.linspace(0.5, 40, 80).tolist())  # its distribution takes milliseconds a value: tabulated once
    return np.asarray(np.exp(np.interp(largest, grid, _log_range(int(df.sum()), grid))) / len(PAIRS))


@cache
def _log_range(df: int, grid: tuple[float, ...]) -> Array:
    return np.log([max(float(stats.studentized_range.sf(x, 6, df)), 1e-12) for x in grid])


def ours(means: Array, variances: Array, n: NDArray[np.int64]) -> Array:
    """Spreads that lend each other what they know, averaged over what is not known."""
    own = [Spread(float(variance), int(count)) for variance, count in zip(variances, n, strict=True)]
    spreads = Spreads(dict(enumerate(own)))
    return np.array(
        [
            spreads.mixture([a, b], [own[a], own[b]], ROWS_PART, ROWS_DF + 1).two_sided_p(float(means[b] - means[a]))
            for a, b in PAIRS
        ]
    )


WAYS: dict[str, Way] = {
    "Welch, Satterthwaite (before)": welch,
    "one variance for all": pooled,
    "the larger p of the two": larger_p,
    "moderated t, prior estimated": moderated,
    "Tukey and Kramer": studentized_range,
    "ours": ours,
}


def _both() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    a, b = np.array(PAIRS).T
    return a, b


def _student(means: Array, variances: Array, n: NDArray[np.int64], df: Array | NDArray[np.int64]) -> Array:
    a, b = _both()
    of_mean = variances / n
    total = of_mean[a] + of_mean[b] + ROWS_PART
    pair_df = total**2 / (of_mean[a] ** 2 / df[a] + of_mean[b] ** 2 / df[b] + ROWS_PART**2 / ROWS_DF)
    return np.asarray(2 * stats.t.sf(np.abs(means[b] - means[a]) / np.sqrt(total), pair_df))


def compare_ways(
    draws: Sequence[int], spreads: Sequence[float], repeats: int, seed: int
) -> dict[str, dict[str, float]]:
    """In percent of data sets, by way: some false winner; and, where the last strategy is better, how often it is shown
    to beat the first."""
    rng = np.random.default_rng(seed)
    n, sd = np.array(draws), np.array(spreads, dtype=float)
    last = PAIRS.index((0, 5))
    better = np.array([0.0] * 5 + [EFFECT])
    counts = {name: [0, 0] for name in WAYS}
    for _ in range(repeats):
        means = rng.normal(0, np.hypot(sd / np.sqrt(n), math.sqrt(ROWS_PART / 2)))
        variances = sd**2 * rng.chisquare(n - 1) / (n - 1)
        for name, way in WAYS.items():
            counts[name][0] += way(means, variances, n).min() * len(PAIRS) <= 0.05
            counts[name][1] += way(means + better, variances, n)[last] * len(PAIRS) <= 0.05
    return {
        name: {"some false winner": round(100 * int(false) / repeats, 1), "shown": round(100 * int(shown) / repeats, 1)}
        for name, (false, shown) in counts.items()
    }
