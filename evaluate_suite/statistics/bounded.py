"""Intervals of means that cannot lie outside given bounds, such as shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from evaluate_suite.statistics.pairs import CONFIDENCE, TOO_FEW
from evaluate_suite.statistics.types import Estimate, PairedDifference

UNBOUNDED = "the interval is wider than the measure's range: too few units to say anything"


def bounded_mean_interval(
    sums: Sequence[float], bounds: tuple[float, float], weights: Sequence[float] | None = None
) -> Estimate:
    """Return the mean sum(sums) / sum(weights) over units with a 95% interval that lies within `bounds`.

    Wilson's interval (1927) for the share of the range that the mean stands at, with the effective number of units
    that the standard error implies (Kish, 1965; of a ratio by linearisation) and Student's t in the place of the
    normal quantile. For values that are yes or no it is close to Wilson's own; where all units are equal at a bound
    it is Wilson's for that many units.
    """
    x = np.asarray(sums, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(x) or w.sum() == 0:
        return Estimate(None, reason="nothing was scored")
    mean = float(x.sum() / w.sum())
    n = len(x)
    if n < 2:
        return Estimate(mean, n=n, reason=TOO_FEW)
    low, high = bounds
    share = min(max((mean - low) / (high - low), 0.0), 1.0)
    error = float(((x - mean * w) / w.mean()).std(ddof=1)) / np.sqrt(n) / (high - low)
    spread = share * (1 - share)
    if error == 0 and spread > 0:
        return Estimate(mean, mean, mean, n)
    effective = spread / error**2 if error > 0 and spread > 0 else float(n)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    centre = (share + quantile**2 / (2 * effective)) / (1 + quantile**2 / effective)
    half = quantile * np.sqrt(spread / effective + (quantile / (2 * effective)) ** 2) / (1 + quantile**2 / effective)
    ends = (low + (high - low) * max(0.0, centre - half), low + (high - low) * min(1.0, centre + half))
    return Estimate(mean, float(min(ends[0], mean)), float(max(ends[1], mean)), n)


def within_bounds(pair: PairedDifference, bounds: tuple[float, float]) -> PairedDifference:
    """Return the pair with the interval of its effect ending where a difference of two values within `bounds` must.

    Where the interval covers all that is possible there is none, and the reason says so; nor is there a smallest effect
    that would have been shown where that is more than is possible.
    """
    widest = bounds[1] - bounds[0]
    if pair.unpaired is not None:
        pair = replace(pair, unpaired=within_bounds(pair.unpaired, bounds))
    if pair.smallest_detectable is not None and pair.smallest_detectable > widest:
        pair = replace(pair, smallest_detectable=None)
    if pair.low is None or pair.high is None or not np.isfinite(widest):
        return pair
    if pair.low <= -widest and pair.high >= widest:
        return replace(pair, low=None, high=None, reason=pair.reason or UNBOUNDED)
    return replace(pair, low=max(pair.low, -widest), high=min(pair.high, widest))
