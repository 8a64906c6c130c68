"""Comparing strategies rather than single runs: rows, draws of the selection and training seeds as levels of their own.

A run is one draw of its strategy and one seed of its training. Over rows alone, one lucky draw passes for a better
strategy; so a conclusion about a strategy takes the draw as its unit, and one about a selection the training seed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluate_suite.comparison import CONFIDENCE, Interval, PairedDifference, correct, detectable_effect

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS, SEEDS, ROWS = "draws", "seeds", "rows"
# What a conclusion is about, by the unit it stands on, from the widest to the narrowest.
SCOPES = {DRAWS: "strategies", SEEDS: "selections", ROWS: "runs"}


@dataclass(frozen=True)
class MeasuredRun:
    """One run's figure by row (summed loss, say); `draw` tells its selection apart from other draws of its strategy."""

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
    """One strategy: its units' loss vectors (units x rows), averaged over what lies below the unit."""

    unit: str
    units: NDArray[np.float64]
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
) -> LevelledComparison:
    """All pairs of strategies, each with the widest unit its runs allow.

    `fixed` are the strategies whose every draw is the same selection; their training seeds stand for draws.

    The standard error of a difference is that of a crossed design (units x rows, Owen, The pigeonhole bootstrap, 2007):
    variance of the unit means, plus that of the rows' differences, less what both hold twice. Student's t with
    Satterthwaite's (1946) degrees of freedom; p values by the same t, corrected over all pairs.
    """
    import numpy as np

    names = list(dict.fromkeys(run.strategy for run in runs))
    rows = [row for row in runs[0].values if all(row in run.values for run in runs)] if runs else []
    w = np.array([1.0 if weights is None else weights[row] for row in rows])
    sides = {name: _side([run for run in runs if run.strategy == name], rows, w, name in fixed) for name in names}
    pairs = [_pair(a, b, sides[a], sides[b], w) for a, b in itertools.combinations(names, 2)]
    spread = {
        name: {
            "draws": side.draw_spread,
            "seeds": side.seed_spread,
            "rows": float(_linear(side.units.mean(axis=0), w).std(ddof=1)) if len(rows) > 1 else None,
        }
        for name, side in sides.items()
    }
    return LevelledComparison(
        SCOPES[_narrowest([side.unit for side in sides.values()])],
        {name: _estimate(side, w) for name, side in sides.items()},
        correct(pairs, higher_is_better),
        spread,
        {name: side.n_draws for name, side in sides.items()},
        {name: side.n_seeds for name, side in sides.items()},
        _notes(sides, fixed),
    )


def _narrowest(units: Sequence[str]) -> str:
    order = (ROWS, SEEDS, DRAWS)
    return min(units, key=order.index, default=ROWS)


def _side(runs: Sequence[MeasuredRun], rows: Sequence[Hashable], w: NDArray[np.float64], fixed: bool) -> _Side:
    import numpy as np

    draws: dict[str, list[NDArray[np.float64]]] = {}
    for run in runs:
        draws.setdefault(run.draw, []).append(np.array([run.values[row] for row in rows], dtype=np.float64))
    total = w.sum()
    within = [np.var([v.sum() / total for v in seeds], ddof=1) for seeds in draws.values() if len(seeds) > 1]
    seed_spread = math.sqrt(float(np.mean(within))) if within and len(rows) else None
    n_seeds = min(len(seeds) for seeds in draws.values())
    if len(draws) > 1:
        units = np.array([np.mean(seeds, axis=0) for seeds in draws.values()])
        means = units.sum(axis=1) / total
        # Seeds are averaged inside a draw: their part of the means' variance is not the draws' own.
        own = float(np.var(means, ddof=1)) - (0.0 if seed_spread is None else seed_spread**2 / n_seeds)
        return _Side(DRAWS, units, len(draws), n_seeds, seed_spread, math.sqrt(max(0.0, own)))
    units = np.array(next(iter(draws.values())))
    unit = SEEDS if len(units) > 1 else ROWS
    return _Side(DRAWS if fixed and unit == SEEDS else unit, units, 1, n_seeds, seed_spread, 0.0 if fixed else None)


def _linear(values: NDArray[np.float64], w: NDArray[np.float64]) -> Any:
    """Each row's part in a ratio of sums, linearised, so that its mean is 0 and its variance that of the ratio."""
    return (values - values.sum() / w.sum() * w) / w.mean()


def _unit_variance(units: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[float, float]:
    """(variance of the mean over units, what of it is the rows' chance inside single units); zeros for one unit."""
    import numpy as np

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
    import numpy as np

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
    if variance <= 0:
        return 0.0, float(n_rows - 1)
    # With `variance` twice the interval covers 96 to 97%, with `total` twice 93 to 96%: one of each lies between.
    df = total * variance / sum(v**2 / df for v, df in parts if v > 0)
    return math.sqrt(variance), df


def _interval(value: float, error: float, df: float) -> tuple[float, float]:
    from scipy import stats

    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, df))
    return value - half, value + half


def _estimate(side: _Side, w: NDArray[np.float64]) -> Interval:
    if not len(w):
        return Interval(None, None, None, 0, "no row was scored in every run")
    mean = side.units.mean(axis=0)
    value = float(mean.sum() / w.sum())
    combined = _combine([side], mean, w)
    if combined is None:
        return Interval(value, None, None, len(w), "fewer than 2 rows")
    return Interval(value, *_interval(value, *combined), len(w))


def _pair(first: str, second: str, a: _Side, b: _Side, w: NDArray[np.float64]) -> PairedDifference:
    from scipy import stats

    difference = b.units.mean(axis=0) - a.units.mean(axis=0)
    combined = _combine([a, b], difference, w)
    unit = _narrowest([a.unit, b.unit])
    n_units = min(len(a.units), len(b.units))
    if combined is None:
        return PairedDifference(
            first, second, len(w), None, None, None, None, None, reason="fewer than 2 rows", unit=unit, n_units=n_units
        )
    error, df = combined
    effect = float(difference.sum() / w.sum())
    low, high = _interval(effect, error, df)
    p = (1.0 if effect == 0 else 0.0) if error == 0 else 2 * float(stats.t.sf(abs(effect) / error, df))
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
