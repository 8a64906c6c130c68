"""How far draws scatter, known from few of them: strategies lend each other what they know, within a bound.

Two draws say next to nothing about the spread between draws, and Welch's and Satterthwaite's degrees of freedom, right
on average at 5%, are wrong in the tail that a correction over many pairs looks at. So the spreads of all strategies are
estimated together (as those of genes are: Smyth, 2004, *Linear models and empirical Bayes methods*): a strategy's log
spread lies about a common centre of which nothing is assumed, with a standard deviation of `UNLIKENESS`. What is then
not known of the spreads is averaged over, which gives a mixture of t distributions with tails as heavy as the data
allow. benchmarks/interval_coverage.py shows what other ways cost.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import brentq

# Of a strategy's log spread about the common centre: two strategies lie within a factor of 4 of each other in 95 of
# 100. 0.4 gives too many false winners where the strategy with the fewest draws is the wildest, 0.6 wider intervals.
UNLIKENESS = 0.5
# An own spread this far (in logs) below what rows alone cause is as good as none; how much weight "none" has follows.
NEGLIGIBLE = 2.0
MOST_DF = 1e6  # of a t distribution that is normal for all purposes
_FINEST = 0.2  # step of the grid of log spreads, where no strategy has enough draws to want a finer one
_BINS = 150


@dataclass(frozen=True)
class Spread:
    """The variance between `n_units` units of one strategy, or between the differences of a pair's paired draws.

    `least` is the part of it that the chance of single rows makes, and which is known better; the rest is the units'
    own. Only spreads of one `kind` (draws, or training seeds of one selection) lend each other anything.
    """

    variance: float
    n_units: int
    least: float = 0.0
    kind: str = "draws"


@dataclass(frozen=True)
class Mixture:
    """The distribution of an estimate's error: t distributions by weight, with their variances and degrees of freedom.

    No variance at all (`variances` are 0) is an estimate without error.
    """

    weights: NDArray[np.float64]
    variances: NDArray[np.float64]
    dfs: NDArray[np.float64]

    @property
    def is_exact(self) -> bool:
        """Whether there is no error at all."""
        return not self.variances.any()

    def two_sided_p(self, effect: float) -> float:
        """The chance of an error as large as `effect`, either way."""
        if self.is_exact:
            return 0.0 if effect else 1.0
        return min(1.0, float(2 * self.weights @ special.stdtr(self.dfs, -abs(effect) / np.sqrt(self.variances))))

    def quantile(self, p: float) -> float:
        """The error that a share `p` (above 0.5) of errors stays below."""
        if self.is_exact:
            return 0.0
        scale = math.sqrt(float(self.weights @ self.variances))
        high = scale
        while self.two_sided_p(high) > 2 * (1 - p):
            high *= 2
        return float(brentq(lambda x: self.two_sided_p(x) - 2 * (1 - p), 0.0, high, xtol=1e-9 * scale))


class Spreads:
    """What the spreads of several strategies say together. `tempered` weighs what each lends: below 1 where they are
    not independent of each other, as the differences of all pairs of m strategies are (2 / m)."""

    def __init__(self, spreads: Mapping[Any, Spread], tempered: float = 1.0) -> None:
        known: dict[Hashable, Spread] = {name: spread for name, spread in spreads.items() if spread.n_units > 1}
        self._grid = _log_grid(list(known.values()))
        self._kinds = {name: spread.kind for name, spread in known.items()}
        self._tempered = tempered
        away = (self._grid[:, None] - self._grid[None, :]) / UNLIKENESS
        self._prior = np.exp(-0.5 * away**2)  # own log spreads x centres
        self._lent = {name: np.log(self._joint(spread).sum(axis=0)) for name, spread in known.items()}

    def _joint(self, spread: Spread) -> NDArray[np.float64]:
        """The likelihood of one strategy's spread times its prior, by (log spread, centre); the largest row about 1."""
        total = self._total(spread)
        fit = -(spread.n_units - 1) / 2 * (np.log(total) + spread.variance / total)
        joint: NDArray[np.float64] = np.exp(fit - fit.max())[:, None] * self._prior + 1e-300
        return joint

    def _total(self, spread: Spread) -> NDArray[np.float64]:
        """The variance between units at every point of the grid of their own spread."""
        return np.asarray(np.exp(2 * self._grid) + spread.least)

    def mixture(self, names: Sequence[Hashable], own: Sequence[Spread], by_row: float, n_rows: int) -> Mixture:
        """The error of a mean, or of a difference of two, of the units of `own` (called `names` among the others).

        `by_row` is what the choice of the `n_rows` rows adds to the variance of their mean or difference.
        """
        varied = [(name, spread) for name, spread in zip(names, own, strict=True) if spread.n_units > 1]
        if not any(spread.variance > 0 or spread.least > 0 for _, spread in varied):
            return _mixture(np.ones(1), np.array([by_row]), by_row, n_rows)
        weights = {
            kind: self._centre_weights(kind, [name for name, _ in varied]) for kind in {s.kind for _, s in varied}
        }
        joints = [self._joint(spread) for _, spread in varied]
        (_, first), *rest = varied
        if not rest:
            joint = joints[0] @ weights[first.kind]
            return _mixture(joint, self._total(first) / first.n_units + by_row, by_row, n_rows)
        second = rest[0][1]
        if first.kind == second.kind:
            joint = (joints[0] * weights[first.kind]) @ joints[1].T
        else:
            joint = np.outer(joints[0] @ weights[first.kind], joints[1] @ weights[second.kind])
        total = np.add.outer(self._total(first) / first.n_units, self._total(second) / second.n_units) + by_row
        return _mixture(joint.ravel(), total.ravel(), by_row, n_rows)

    def _centre_weights(self, kind: str, without: Sequence[Hashable]) -> NDArray[np.float64]:
        """How well every common centre fits the spreads of `kind` but those `without`."""
        others = [lent for name, lent in self._lent.items() if self._kinds[name] == kind and name not in without]
        log_weight = self._tempered * np.sum([np.zeros(len(self._grid)), *others], axis=0)
        weights: NDArray[np.float64] = np.exp(log_weight - log_weight.max())
        return weights


def _log_grid(spreads: Sequence[Spread]) -> NDArray[np.float64]:
    """Log spreads of the units' own, from where they no longer matter to where even one degree of freedom leaves no
    weight."""
    variances = [spread.variance for spread in spreads if spread.variance > 0]
    least = max((spread.least for spread in spreads), default=0.0)
    if not variances and not least:
        return np.zeros(1)
    dfs: dict[str, int] = {}
    for spread in spreads:
        dfs[spread.kind] = dfs.get(spread.kind, 0) + spread.n_units - 1
    top, bottom = (math.log(pick(variances or [least])) / 2 for pick in (max, min))
    low = max(bottom, top - 3) - 3 * UNLIKENESS
    if least:
        low = max(low, math.log(least) / 2 - NEGLIGIBLE)
    step = min(_FINEST, 0.7 / math.sqrt(2 * max(spread.n_units - 1 for spread in spreads)))
    high = max(top, low) + 3 * UNLIKENESS + 8 / min(dfs.values()) ** 0.7
    return np.arange(low, high + step, step)


def _mixture(weights: NDArray[np.float64], variances: NDArray[np.float64], by_row: float, n_rows: int) -> Mixture:
    """The mixture gathered into bins of like variance. The rows' part is known with `n_rows` - 1 degrees of freedom,
    the rest, at each point of the grid, exactly."""
    kept = weights > 1e-15 * weights.sum()
    weights, variances = weights[kept] / weights[kept].sum(), variances[kept]
    if len(weights) > _BINS:
        logs = np.log(variances)
        bins = ((logs - logs.min()) / max(float(np.ptp(logs)), 1e-12) * (_BINS - 1)).astype(np.int64)
        gathered = np.asarray(np.bincount(bins, weights, _BINS), dtype=np.float64)
        sums = np.asarray(np.bincount(bins, weights * variances, _BINS), dtype=np.float64)
        variances, weights = sums[gathered > 0] / gathered[gathered > 0], gathered[gathered > 0]
    if by_row <= 0 or n_rows < 2:
        return Mixture(weights, variances, np.full(len(weights), MOST_DF))
    return Mixture(weights, variances, np.minimum((n_rows - 1) * (variances / by_row) ** 2, MOST_DF))
