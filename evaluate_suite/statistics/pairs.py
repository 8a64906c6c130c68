"""Comparing runs without fooling anyone: paired by row or prompt, with intervals, exact tests and corrections."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import false_discovery_control

from evaluate_suite.statistics.types import Estimate, PairedDifference

CONFIDENCE = 0.95
POWER = 0.8
PERMUTATIONS = 9_999
RESAMPLES = 2_000
TOO_FEW = "fewer than 2 items"


def mean_with_interval(values: Sequence[float]) -> Estimate:
    """The mean with Student's t interval; None with a reason for no value, no interval for one."""
    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        return Estimate(None, None, None, 0, reason="nothing was scored")
    mean = float(x.mean())
    if len(x) < 2:
        return Estimate(mean, None, None, 1, reason=TOO_FEW)
    error = float(x.std(ddof=1) / np.sqrt(len(x)))
    if error == 0:
        return Estimate(mean, mean, mean, len(x))
    low, high = stats.t.interval(CONFIDENCE, len(x) - 1, mean, error)
    return Estimate(mean, float(low), float(high), len(x))


def share_with_interval(count: int, n: int) -> Estimate:
    """The share `count / n` with Wilson's interval (1927); None with a reason for n = 0."""
    if n == 0:
        return Estimate(None, None, None, 0, reason="nothing was scored")
    interval = stats.binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(count / n, float(interval.low), float(interval.high), n)


def ratio_with_interval(sums: Sequence[float], weights: Sequence[float]) -> Estimate:
    """The ratio sum(sums) / sum(weights) over rows, such as a loss a token, with its interval over rows.

    Rows are the unit that was drawn, so the standard error is that of a ratio estimator by linearisation (Cochran,
    Sampling Techniques, 1977, chapter 6), with Student's t on n - 1 degrees of freedom.
    """
    x, w = np.asarray(sums, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if not len(x) or w.sum() == 0:
        return Estimate(None, None, None, 0, reason="no token was scored")
    ratio = float(x.sum() / w.sum())
    if len(x) < 2:
        return Estimate(ratio, None, None, 1, reason=TOO_FEW)
    spread = mean_with_interval(((x - ratio * w) / w.mean()).tolist())
    half = (spread.high or 0.0) - (spread.value or 0.0)
    return Estimate(ratio, ratio - half, ratio + half, len(x))


def bootstrap_interval(sums: Sequence[float], weights: Sequence[float] | None = None, seed: int = 0) -> Estimate:
    """The mean, or the ratio sum(sums) / sum(weights), with its BCa bootstrap interval (Efron, 1987) over the items.

    For figures whose spread is lopsided, beside Student's t; both are off below 20 items or so, this one more.
    """
    x = np.asarray(sums, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(x) or w.sum() == 0:
        return Estimate(None, None, None, 0, reason="nothing was scored")
    ratio = float(x.sum() / w.sum())
    if len(x) < 2:
        return Estimate(ratio, None, None, 1, reason=TOO_FEW)
    if np.ptp(x - ratio * w) == 0:
        return Estimate(ratio, ratio, ratio, len(x))

    def statistic(a: NDArray[np.float64], b: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(a.sum(axis=axis) / b.sum(axis=axis))

    found = stats.bootstrap(
        (x, w),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    if not (np.isfinite(found.low) and np.isfinite(found.high)):
        return Estimate(ratio, None, None, len(x), reason="the bootstrap has no interval for values this alike")
    return Estimate(ratio, float(found.low), float(found.high), len(x))


def paired_gain(base: Sequence[float], tuned: Sequence[float], weights: Sequence[float] | None = None) -> Estimate:
    """How much lower the tuned model's loss a token is than the base model's on the same rows; above 0 is better.

    `base` and `tuned` are summed losses by row, `weights` the tokens they are summed over (1 each by default).
    """
    differences = [b - t for b, t in zip(base, tuned, strict=True)]
    return ratio_with_interval(differences, weights if weights is not None else [1.0] * len(differences))


def paired_difference(
    first: str,
    second: str,
    values: Mapping[str, Mapping[Hashable, float]],
    *,
    weights: Mapping[Hashable, float] | None = None,
    clusters: Mapping[Hashable, Hashable] | None = None,
    unit: str | None = None,
    measure: str = "",
    seed: int = 0,
) -> PairedDifference:
    """`second` minus `first`, paired by item, clustered where several items belong to one task.

    Values of 0 and 1 are tested by McNemar's exact test (1947), others by flipping the signs of the clusters'
    differences (Fisher, 1935): exactly where that is at most 9,999 flips, else with as many random ones. `unit` is
    what an item is called.
    """
    items = [item for item in values[first] if item in values[second]]
    groups: dict[Hashable, list[float]] = {}
    for item in items:
        weight = 1.0 if weights is None else weights[item]
        entry = groups.setdefault(item if clusters is None else clusters[item], [0.0, 0.0])
        entry[0] += values[second][item] - values[first][item]
        entry[1] += weight
    unit = unit or ("rows" if clusters is None else "tasks")
    pair = PairedDifference(first, second, measure, n=len(items), unit=unit, n_units=len(groups))
    if len(groups) < 2:
        return replace(pair, reason=TOO_FEW)
    sums, sizes = np.array(list(groups.values())).T
    estimate = ratio_with_interval(sums.tolist(), sizes.tolist())
    residuals = (sums - (estimate.value or 0.0) * sizes) / sizes.mean()
    if clusters is None and weights is None and _binary(values, first, second, items):
        gained, lost = int((sums > 0).sum()), int((sums < 0).sum())
        p = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    else:
        p = _sign_flip(sums, seed)
    boot = bootstrap_interval(sums.tolist(), sizes.tolist(), seed)
    return replace(
        pair,
        effect=estimate.value,
        low=estimate.low,
        high=estimate.high,
        p=p,
        smallest_detectable=_detectable(residuals),
        bootstrap_low=boot.low,
        bootstrap_high=boot.high,
    )


def _binary(values: Mapping[str, Mapping[Hashable, float]], first: str, second: str, items: Sequence[Hashable]) -> bool:
    return all(values[name][item] in (0, 1) for name in (first, second) for item in items)


def _sign_flip(differences: NDArray[np.float64], seed: int) -> float:
    if not differences.any():
        return 1.0
    result = stats.permutation_test(
        (differences,),
        lambda x, axis=-1: np.sum(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _detectable(residuals: NDArray[np.float64]) -> float | None:
    """The smallest mean difference that n such differences show with 80% power in a two-sided t test at 5%."""
    n = len(residuals)
    return detectable_effect(float(residuals.std(ddof=1) / n**0.5), n - 1)


def detectable_effect(error: float, df: float) -> float | None:
    """The true effect that a two-sided t test at 5% shows with 80% power, from its standard error; None without one.

    The sum of the two quantiles of t: within 6% of the exact figure (noncentral t) from 2 degrees of freedom on.
    """
    if error == 0 or df <= 0:
        return None
    return float(error * (stats.t.ppf((1 + CONFIDENCE) / 2, df) + stats.t.ppf(POWER, df)))


def compare_runs(
    values: Mapping[str, Mapping[Hashable, float]],
    *,
    higher_is_better: bool,
    weights: Mapping[Hashable, float] | None = None,
    clusters: Mapping[Hashable, Hashable] | None = None,
    unit: str | None = None,
    measure: str = "",
    baseline: str | None = None,
) -> list[PairedDifference]:
    """Every pair of runs, with p values corrected over all of them: Holm (1979) and Benjamini and Hochberg (1995).

    With a `baseline` only the pairs with it are compared, and corrected for: it is their `first`. A winner is named
    only when Holm's p is at most 0.05 and the interval excludes 0.
    """
    pairs = [
        paired_difference(a, b, values, weights=weights, clusters=clusters, unit=unit, measure=measure)
        for a, b in pairs_of(list(values), baseline)
    ]
    return correct(pairs, higher_is_better)


def pairs_of(names: Sequence[str], baseline: str | None = None) -> list[tuple[str, str]]:
    """All pairs of `names` in their order, or the baseline with each of the others."""
    if baseline is None:
        return list(itertools.combinations(names, 2))
    return [(baseline, name) for name in names if name != baseline] if baseline in names else []


def correct(pairs: Sequence[PairedDifference], higher_is_better: bool) -> list[PairedDifference]:
    """The pairs with corrected p values and, where a difference is shown, the winner."""
    raw = [pair.p for pair in pairs if pair.p is not None]
    if not raw:
        return list(pairs)
    adjusted = iter(zip(holm_adjusted(raw), false_discovery_control(raw, method="bh"), strict=True))
    return [pair if pair.p is None else _judged(pair, *next(adjusted), higher_is_better) for pair in pairs]


def _judged(pair: PairedDifference, p_holm: float, p_fdr: float, higher_is_better: bool) -> PairedDifference:
    shown = p_holm <= 1 - CONFIDENCE and pair.low is not None and pair.high is not None and pair.low * pair.high > 0
    second_wins = (pair.effect or 0.0) > 0 if higher_is_better else (pair.effect or 0.0) < 0
    winner = (pair.second if second_wins else pair.first) if shown else None
    return replace(pair, p_holm=float(p_holm), p_fdr=float(p_fdr), winner=winner)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """p values by Holm's step-down method, in the order given."""
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw)
    stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in adjusted]


def overall_winner(pairs: Sequence[PairedDifference]) -> str | None:
    """The run that is shown to beat every other one; None when there is none."""
    names = {name for pair in pairs for name in (pair.first, pair.second)}
    for name in sorted(names):
        mine = [pair for pair in pairs if name in (pair.first, pair.second)]
        if mine and all(pair.winner == name for pair in mine):
            return name
    return None
