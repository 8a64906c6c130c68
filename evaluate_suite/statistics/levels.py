"""Comparing strategies rather than single runs: rows, draws of the selection and training seeds as levels of their own.

A run is one draw of its strategy and one seed of its training. Over rows alone, one lucky draw passes for a better
strategy; so a conclusion about a strategy takes the draw as its unit, and one about a selection the training seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluate_suite.statistics.pairs import CONFIDENCE, TOO_FEW, Interval, PairedDifference, correct, detectable_effect

DRAWS, SEEDS, ROWS = "draws", "seeds", "rows"
ROUNDING = 1e-12  # a standard error this small beside the values is floating point, not chance
# What a conclusion is about, by the unit it stands on, from the widest to the narrowest.
SCOPES = {DRAWS: "strategies", SEEDS: "selections", ROWS: "runs"}


@dataclass(frozen=True)
class MeasuredRun:
    """One run's figure by row or prompt (summed loss, say, or passed: 0 or 1); those it lacks are left out.

    `draw` tells its selection apart from other draws of its strategy.
    """

    name: str
    strategy: str
    draw: str
    seed: int | None
    values: Mapping[Hashable, float]


@dataclass(frozen=True)
class LevelledComparison:
    """Every strategy's estimate, every pair, and how large each level's own variation is (standard deviations)."""

    scope: str
    estimates: dict[str, Interval]
    pairs: list[PairedDifference]
    spread: dict[str, dict[str, float | None]]
    n_draws: dict[str, int]
    n_seeds: dict[str, int]
    notes: list[str]


@dataclass(frozen=True)
class _Side:
    """One strategy: its units' values (units x rows), averaged over what lies below the unit; `w` weighs the rows."""

    unit: str
    units: NDArray[np.float64]
    w: NDArray[np.float64]
    n_draws: int
    n_seeds: int
    seed_spread: float | None
    draw_spread: float | None


def compare_strategies(
    runs: Sequence[MeasuredRun],
    *,
    higher_is_better: bool,
    weights: Mapping[Hashable, float] | None = None,
    fixed: Collection[str] = (),
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> LevelledComparison:
    """All pairs of strategies, each with the widest unit its runs allow.

    `fixed` are the strategies whose every draw is the same selection; their training seeds stand for draws. An estimate
    stands on the rows that all of its strategy's runs have, a pair on those that all runs of both have. No figure can
    lie outside `bounds`, so the estimates' intervals end there.

    The standard error of a difference is that of a crossed design (units x rows, Owen, The pigeonhole bootstrap, 2007):
    variance of the unit means, plus that of the rows' differences, less what both hold twice. Student's t with
    Satterthwaite's (1946) degrees of freedom; p values by the same t, corrected over all pairs.
    """
    groups: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        groups.setdefault(run.strategy, []).append(run)

    def on(rows: Sequence[Hashable], name: str) -> _Side:
        return _side(groups[name], rows, weights, name in fixed)

    sides = {name: on(_shared_rows(mine), name) for name, mine in groups.items()}
    pairs = []
    for a, b in itertools.combinations(groups, 2):
        rows = _shared_rows([*groups[a], *groups[b]])
        pairs.append(_pair(a, b, on(rows, a), on(rows, b)))
    spread = {
        name: {"draws": side.draw_spread, "seeds": side.seed_spread, "rows": _row_spread(side)}
        for name, side in sides.items()
    }
    return LevelledComparison(
        SCOPES[_narrowest([side.unit for side in sides.values()])],
        {name: _estimate(side, bounds) for name, side in sides.items()},
        correct(pairs, higher_is_better),
        spread,
        {name: side.n_draws for name, side in sides.items()},
        {name: side.n_seeds for name, side in sides.items()},
        _notes(sides, fixed),
    )


def _narrowest(units: Sequence[str]) -> str:
    order = (ROWS, SEEDS, DRAWS)
    return min(units, key=order.index, default=ROWS)


def _shared_rows(runs: Sequence[MeasuredRun]) -> list[Hashable]:
    return [row for row in runs[0].values if all(row in run.values for run in runs)]


def _side(
    runs: Sequence[MeasuredRun], rows: Sequence[Hashable], weights: Mapping[Hashable, float] | None, fixed: bool
) -> _Side:
    w = np.array([1.0 if weights is None else weights[row] for row in rows])
    draws: dict[str, list[NDArray[np.float64]]] = {}
    for run in runs:
        draws.setdefault(run.draw, []).append(np.array([run.values[row] for row in rows], dtype=np.float64))
    n_seeds = min(len(seeds) for seeds in draws.values())
    seed_spread, draw_spread = _spreads(list(draws.values()), w, n_seeds)
    if len(draws) > 1:
        units = np.array([np.mean(seeds, axis=0) for seeds in draws.values()])
        return _Side(DRAWS, units, w, len(draws), n_seeds, seed_spread, draw_spread)
    units = np.array(next(iter(draws.values())))
    unit = DRAWS if fixed and len(units) > 1 else SEEDS if len(units) > 1 else ROWS
    return _Side(unit, units, w, 1, n_seeds, seed_spread, 0.0 if fixed else None)


def _spreads(
    draws: Sequence[Sequence[NDArray[np.float64]]], w: NDArray[np.float64], n_seeds: int
) -> tuple[float | None, float | None]:
    """Standard deviations (between training seeds of one draw, between draws); None where there is but one."""
    if not len(w):
        return None, None
    means = [[float(v.sum() / w.sum()) for v in seeds] for seeds in draws]
    within = [np.var(seeds, ddof=1) for seeds in means if len(seeds) > 1]
    seeds = float(np.mean(within)) if within else None
    if len(draws) < 2:
        return None if seeds is None else math.sqrt(seeds), None
    # Seeds are averaged inside a draw: their part of the means' variance is not the draws' own.
    own = float(np.var([np.mean(seeds) for seeds in means], ddof=1)) - (seeds or 0.0) / n_seeds
    return None if seeds is None else math.sqrt(seeds), math.sqrt(max(0.0, own))


def _row_spread(side: _Side) -> float | None:
    return float(_linear(side.units.mean(axis=0), side.w).std(ddof=1)) if len(side.w) > 1 else None


def _linear(values: NDArray[np.float64], w: NDArray[np.float64]) -> Any:
    """Each row's part in a ratio of sums, linearised, so that its mean is 0 and its variance that of the ratio."""
    return (values - values.sum() / w.sum() * w) / w.mean()


def _unit_variance(units: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[float, float]:
    """(variance of the mean over units, what of it is the rows' chance inside single units); zeros for one unit."""
    n, n_rows = units.shape
    if n < 2:
        return 0.0, 0.0
    means = units.sum(axis=1) / w.sum()
    scatter = np.array([_linear(unit - units.mean(axis=0), w) for unit in units])
    residual = float((scatter**2).sum()) / ((n - 1) * (n_rows - 1)) / n_rows if n_rows > 1 else 0.0
    return float(np.var(means, ddof=1)) / n, residual / n


def _combine(
    sides: Sequence[_Side], difference: NDArray[np.float64], w: NDArray[np.float64]
) -> tuple[float, float] | None:
    """(standard error, degrees of freedom) of a mean or difference whose values by row are `difference`."""
    n_rows = len(w)
    if n_rows < 2:
        return None
    by_row = float(np.var(_linear(difference, w), ddof=1)) / n_rows
    parts = [(by_row, n_rows - 1)]
    twice = 0.0
    for side in sides:
        variance, residual = _unit_variance(side.units, w)
        parts.append((variance, len(side.units) - 1))
        twice += residual
    total = sum(variance for variance, _ in parts)
    variance = max(total - twice, max(variance for variance, _ in parts))
    scale = max(float(np.abs(side.units).max()) for side in sides) / w.mean()
    if variance <= (ROUNDING * scale) ** 2:
        return 0.0, float(n_rows - 1)
    # With `variance` twice the interval covers 96 to 97%, with `total` twice 93 to 96%: one of each lies between.
    df = total * variance / sum(v**2 / df for v, df in parts if v > 0)
    return math.sqrt(variance), df


def _interval(value: float, error: float, df: float) -> tuple[float, float]:
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, df))
    return value - half, value + half


def _estimate(side: _Side, bounds: tuple[float, float]) -> Interval:
    n = len(side.w)
    if not n:
        return Interval(None, None, None, 0, "nothing was scored in every run")
    mean = side.units.mean(axis=0)
    value = float(mean.sum() / side.w.sum())
    combined = _combine([side], mean, side.w)
    if combined is None:
        return Interval(value, None, None, n, TOO_FEW)
    if combined[0] == 0:
        return Interval(value, None, None, n, "the same in every row and run")
    low, high = _interval(value, *combined)
    return Interval(value, max(low, bounds[0]), min(high, bounds[1]), n)


def _pair(first: str, second: str, a: _Side, b: _Side) -> PairedDifference:
    w = a.w
    difference = b.units.mean(axis=0) - a.units.mean(axis=0)
    combined = _combine([a, b], difference, w)
    unit = _narrowest([a.unit, b.unit])
    n_units = min(len(a.units), len(b.units))
    if combined is None:
        return PairedDifference(
            first, second, len(w), None, None, None, None, None, reason=TOO_FEW, unit=unit, n_units=n_units
        )
    error, df = combined
    effect = float(difference.sum() / w.sum())
    low, high = _interval(effect, error, df)
    # Where every row differs by the same, p is the smallest that flipping the rows' signs can give.
    p = 2 * float(stats.t.sf(abs(effect) / error, df)) if error else 2.0 ** (1 - len(w)) if effect else 1.0
    return PairedDifference(
        first, second, len(w), effect, low, high, p, detectable_effect(error, df), unit=unit, n_units=n_units, df=df
    )


def _notes(sides: Mapping[str, _Side], fixed: Collection[str]) -> list[str]:
    """What a reader must know about how little the levels hold."""
    notes = []
    once = [name for name, side in sides.items() if side.n_draws == 1 and name not in fixed]
    if once:
        notes.append(f"One selection only was drawn by {', '.join(once)}: nothing is said about the strategy itself.")
    few = [name for name, side in sides.items() if 1 < side.n_draws < 5]
    if few:
        notes.append(
            f"Few draws ({', '.join(f'{name}: {sides[name].n_draws}' for name in few)}): intervals are wide, "
            "because the spread between draws is itself known from so few."
        )
    single = [name for name, side in sides.items() if side.n_seeds == 1]
    if single:
        notes.append(
            f"One training seed a selection ({', '.join(single)}): its chance is part of the spread between draws."
            if not set(single) & set(once)
            else f"One training seed a selection ({', '.join(single)}): its chance is not measured."
        )
    return notes
