"""Comparing strategies rather than single runs: rows, draws of the selection and training seeds as levels of their own.

A run is one draw of its strategy and one seed of its training. Over rows alone, one lucky draw passes for a better
strategy; so a conclusion about a strategy takes the draw as its unit, and one about a selection the training seed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from evaluate_suite.statistics.pairs import CONFIDENCE, POWER, TOO_FEW, correct, pairs_of
from evaluate_suite.statistics.spreads import Mixture, Spread, Spreads
from evaluate_suite.statistics.types import Estimate, PairedDifference

DRAWS, SEEDS, ROWS = "draws", "seeds", "rows"
ROUNDING = 1e-12  # a standard error this small beside the values is floating point, not chance
# What a conclusion is about, by the unit it stands on, from the widest to the narrowest.
SCOPES = {DRAWS: "strategies", SEEDS: "selections", ROWS: "runs"}


@dataclass(frozen=True)
class MeasuredRun:
    """One run's figure by row or prompt (summed loss, say, or passed: 0 or 1); those it lacks are left out.

    `draw` tells its selection apart from other draws of its strategy. `shared` names the random numbers of a
    coordinated draw: the draws of two strategies with equal `shared` are compared with each other.
    """

    name: str
    strategy: str
    draw: str
    seed: int | None
    values: Mapping[Hashable, float]
    shared: Hashable | None = None


@dataclass(frozen=True)
class LevelledComparison:
    """Every strategy's estimate, every pair, and how large each level's own variation is (standard deviations).

    Where draws are coordinated, pairs compare them one by one, and `pairing_factor` is the variance of the differences
    of draws over what it would be if draws shared nothing.
    """

    scope: str
    estimates: dict[str, Estimate]
    pairs: list[PairedDifference]
    spread: dict[str, dict[str, float | None]]
    n_draws: dict[str, int]
    n_seeds: dict[str, int]
    notes: list[str]
    pairing_factor: float | None = None


@dataclass(frozen=True)
class _Side:
    """One strategy: its units' values (units x rows), averaged over what lies below the unit; `w` weighs the rows.

    `shared` names every unit's random numbers, where all units are draws that have such a name.
    """

    unit: str
    units: NDArray[np.float64]
    w: NDArray[np.float64]
    n_draws: int
    n_seeds: int
    seed_spread: float | None
    draw_spread: float | None
    kind: str
    shared: tuple[Hashable, ...] = ()


def compare_strategies(
    runs: Sequence[MeasuredRun],
    *,
    higher_is_better: bool,
    weights: Mapping[Hashable, float] | None = None,
    fixed: Collection[str] = (),
    bounds: tuple[float, float] = (-math.inf, math.inf),
    measure: str = "",
    baseline: str | None = None,
) -> LevelledComparison:
    """All pairs of strategies, or those with `baseline`, each with the widest unit its runs allow.

    `fixed` are the strategies whose every draw is the same selection; their training seeds stand for draws. An estimate
    stands on the rows that all of its strategy's runs have, a pair on those that all runs of both have. No figure can
    lie outside `bounds`, so the estimates' intervals end there.

    The variance of a difference is that of a crossed design (units x rows, Owen, The pigeonhole bootstrap, 2007):
    variance of the unit means, plus what the rows' differences add beyond it. What is known of the unit means'
    variances is averaged over (`spreads`); p values are corrected over all pairs that are compared.
    """
    groups: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        groups.setdefault(run.strategy, []).append(run)

    def on(rows: Sequence[Hashable], name: str) -> _Side:
        return _side(groups[name], rows, weights, name in fixed)

    sides = {name: on(_shared_rows(mine), name) for name, mine in groups.items()}
    scope = SCOPES[_narrowest([side.unit for side in sides.values()])]
    both = {}
    for a, b in pairs_of(list(groups), baseline):
        rows = _shared_rows([*groups[a], *groups[b]])
        both[a, b] = (on(rows, a), on(rows, b))
    spreads = Spreads({name: _spread(side) for name, side in sides.items()})
    pairs = [_pair(PairedDifference(*names, measure, scope), *pair, spreads) for names, pair in both.items()]
    unpaired = correct(pairs, higher_is_better)
    return LevelledComparison(
        scope,
        {name: _estimate(name, side, bounds, spreads) for name, side in sides.items()},
        correct(_compare_by_draw(unpaired, both), higher_is_better),
        {
            name: {"draws": side.draw_spread, "seeds": side.seed_spread, "rows": _row_spread(side)}
            for name, side in sides.items()
        },
        {name: side.n_draws for name, side in sides.items()},
        {name: side.n_seeds for name, side in sides.items()},
        _notes(sides, fixed),
        _pairing_factor(both),
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
    shared: dict[str, Hashable | None] = {}
    for run in runs:
        draws.setdefault(run.draw, []).append(np.array([run.values[row] for row in rows], dtype=np.float64))
        shared[run.draw] = run.shared
    n_seeds = min(len(seeds) for seeds in draws.values())
    seed_spread, draw_spread = _spreads(list(draws.values()), w, n_seeds)
    if len(draws) > 1:
        units = np.array([np.mean(seeds, axis=0) for seeds in draws.values()])
        names = tuple(shared.values())
        coordinated = None not in names and len(set(names)) == len(names)
        return _Side(
            DRAWS, units, w, len(draws), n_seeds, seed_spread, draw_spread, DRAWS, names if coordinated else ()
        )
    units = np.array(next(iter(draws.values())))
    unit = DRAWS if fixed and len(units) > 1 else SEEDS if len(units) > 1 else ROWS
    return _Side(unit, units, w, 1, n_seeds, seed_spread, 0.0 if fixed else None, SEEDS)


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


def _spread(side: _Side) -> Spread:
    """The variance between a side's units, and what of it is the rows' chance; none where it is but rounding."""
    n = len(side.units)
    if n < 2 or not len(side.w):
        return Spread(0.0, 1, 0.0, side.kind)
    of_mean, residual = _unit_variance(side.units, side.w)
    chance = _rounding([side])
    return Spread(0.0 if of_mean <= chance else n * of_mean, n, 0.0 if residual <= chance else n * residual, side.kind)


def _rounding(sides: Sequence[_Side]) -> float:
    """The variance below which a variance of these sides' means is floating point, not chance."""
    return max((ROUNDING * float(np.abs(side.units).max()) / float(side.w.mean())) ** 2 for side in sides)


def _rows_variance(sides: Sequence[_Side], difference: NDArray[np.float64], own: Sequence[Spread]) -> float:
    """What the choice of the rows adds to the variance of `difference` (by row) beyond that between units."""
    w = sides[0].w
    by_row = float(np.var(_linear(difference, w), ddof=1)) / len(w)
    added = by_row - sum(spread.least / spread.n_units for spread in own)
    return 0.0 if added <= _rounding(sides) else added


def _estimate(name: str, side: _Side, bounds: tuple[float, float], spreads: Spreads) -> Estimate:
    n = len(side.w)
    if not n:
        return Estimate(None, reason="nothing was scored in every run")
    mean = side.units.mean(axis=0)
    value = float(mean.sum() / side.w.sum())
    if n < 2:
        return Estimate(value, n=n, reason=TOO_FEW)
    own = _spread(side)
    error = spreads.mixture([name], [own], _rows_variance([side], mean, [own]), n)
    if error.is_exact:
        return Estimate(value, n=n, reason="the same in every row and run")
    half = error.quantile((1 + CONFIDENCE) / 2)
    low, high = _for_skew(_linear(mean, side.w), half)
    return Estimate(value, max(value - low, bounds[0]), min(value + high, bounds[1]), n)


def _for_skew(rows: NDArray[np.float64], half: float) -> tuple[float, float]:
    """How far an interval reaches (below, above) where the rows are skewed, a few of them far above the rest, say.

    `half` is what it reaches without that. Where Hall's transformation (1992, On the removal of skewness) reaches
    farther, that counts; where it would reach less it is not followed, since skewness is itself known from few rows.
    """
    z = float(special.ndtri((1 + CONFIDENCE) / 2))
    error = half / z
    skew = float((rows**3).mean()) / (len(rows) * error) / (len(rows) * error**2)  # of the mean's error
    if abs(skew) < 1e-6:
        return half, half
    low, high = (3 / skew * (np.cbrt(1 + skew * (side - skew / 6)) - 1) * error for side in (z, -z))
    return max(half, float(low)), max(half, float(-high))


def _pair(pair: PairedDifference, a: _Side, b: _Side, spreads: Spreads) -> PairedDifference:
    pair = replace(pair, n=len(a.w), unit=_narrowest([a.unit, b.unit]), n_units=min(len(a.units), len(b.units)))
    if len(a.w) < 2:
        return replace(pair, reason=TOO_FEW)
    own = [_spread(a), _spread(b)]
    difference = b.units.mean(axis=0) - a.units.mean(axis=0)
    by_row = _rows_variance([a, b], difference, own)
    return _tested(pair, difference, a.w, spreads.mixture([pair.first, pair.second], own, by_row, len(a.w)))


def _tested(
    pair: PairedDifference, difference: NDArray[np.float64], w: NDArray[np.float64], error: Mixture
) -> PairedDifference:
    """The pair with its effect, interval, p and the smallest effect it would have shown."""
    effect = float(difference.sum() / w.sum())
    half = error.quantile((1 + CONFIDENCE) / 2)
    # Where every row differs by the same, p is the smallest that flipping the rows' signs can give.
    p = 2.0 ** (1 - len(w)) if error.is_exact and effect else error.two_sided_p(effect)
    detectable = None if error.is_exact else half + error.quantile(POWER)
    return replace(pair, effect=effect, low=effect - half, high=effect + half, p=p, smallest_detectable=detectable)


def _by_draw(a: _Side, b: _Side) -> NDArray[np.float64] | None:
    """Differences of coordinated draws by row (draws x rows); None where the two sides do not have the same ones."""
    if len(a.w) < 2 or len(a.shared) < 2 or set(a.shared) != set(b.shared):
        return None
    place = {name: i for i, name in enumerate(a.shared)}
    return np.asarray(b.units - a.units[[place[name] for name in b.shared]])


def _compare_by_draw(
    unpaired: Sequence[PairedDifference], both: Mapping[tuple[str, str], tuple[_Side, _Side]]
) -> list[PairedDifference]:
    """The pairs, those of coordinated draws compared draw by draw."""
    differences = {names: rows for names, pair in both.items() if (rows := _by_draw(*pair)) is not None}
    if not differences:
        return list(unpaired)
    own = {
        names: _spread(replace(both[names][0], units=rows, kind="pairs of draws"))
        for names, rows in differences.items()
    }
    n_strategies = len({name for names in differences for name in names})
    spreads = Spreads(own, tempered=(n_strategies - 1) / len(own))
    pairs = []
    for pair in unpaired:
        names = (pair.first, pair.second)
        if names not in differences:
            pairs.append(pair)
            continue
        w, difference = both[names][0].w, differences[names].mean(axis=0)
        by_row = _rows_variance(both[names], difference, [own[names]])
        error = spreads.mixture([names], [own[names]], by_row, len(w))
        pairs.append(_tested(replace(pair, unpaired=pair), difference, w, error))
    return pairs


def _pairing_factor(both: Mapping[tuple[str, str], tuple[_Side, _Side]]) -> float | None:
    """Variance of the differences of coordinated draws over the sum of both sides' variances, over all such pairs."""
    paired = shared_nothing = 0.0
    for a, b in both.values():
        rows = _by_draw(a, b)
        if rows is not None:
            paired += _spread(replace(a, units=rows)).variance
            shared_nothing += _spread(a).variance + _spread(b).variance
    return paired / shared_nothing if shared_nothing else None


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
