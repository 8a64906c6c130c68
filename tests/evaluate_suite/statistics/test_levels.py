"""Strategies compared over draws and seeds, held against scipy and statsmodels where they can do a part of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluate_suite.statistics.levels import MeasuredRun, compare_strategies
from evaluate_suite.statistics.pairs import compare_runs
from evaluate_suite.statistics.spreads import Spread, Spreads


def made(name: str, draws: list[list[float]], rows: int = 50, noise: float = 0.0, seed: int = 0) -> list[MeasuredRun]:
    """Runs of one strategy: `draws` has one list a draw with one level a training seed; rows share their own losses."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(99)
    losses = shared.normal(2, 1, rows)
    runs = []
    for d, seeds in enumerate(draws):
        for s, level in enumerate(seeds):
            values = dict(enumerate(losses + level + rng.normal(0, noise, rows)))
            runs.append(MeasuredRun(f"{name}-{d}-{s}", name, f"{name}-{d}", s, values))
    return runs


def same_rows(name: str, levels: list[float]) -> list[MeasuredRun]:
    """Runs of one strategy, a draw each, that differ by the same on every row."""
    return made(name, [[level] for level in levels])


def test_with_rows_that_all_agree_and_many_draws_it_is_welchs_test_on_the_draws() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 0.02, 300).tolist(), rng.normal(0.005, 0.05, 200).tolist()
    pair = compare_strategies([*same_rows("a", a), *same_rows("b", b)], higher_is_better=False).pairs[0]
    expected = stats.ttest_ind(b, a, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert pair.effect == pytest.approx(np.mean(b) - np.mean(a))
    assert pair.p == pytest.approx(expected.pvalue, rel=0.05)
    assert (pair.low, pair.high) == pytest.approx((interval.low, interval.high), rel=0.03)
    assert (pair.unit, pair.n_units) == ("draws", 200)


def test_spreads_of_one_strategy_alone_give_students_t() -> None:
    for n in (2, 3, 8):
        error = Spreads({"a": Spread(4.0, n)}).mixture(["a"], [Spread(4.0, n)], 0.0, 50)
        scale = 2 / n**0.5
        for p in (0.9, 0.975, 0.9983):
            assert error.quantile(p) == pytest.approx(scale * stats.t.ppf(p, n - 1), rel=0.03)
        assert error.two_sided_p(3 * scale) == pytest.approx(2 * stats.t.sf(3, n - 1), rel=0.03)


def test_other_strategies_lend_what_they_know_of_the_spread_but_not_across_kinds() -> None:
    two = Spread(1.0, 2)

    def half(others: dict[str, Spread]) -> float:
        return Spreads({"a": two, **others}).mixture(["a"], [two], 0.0, 50).quantile(0.975)

    alone, calm = half({}), half({name: Spread(1.0, 3) for name in "bcdef"})
    assert alone == pytest.approx(stats.t.ppf(0.975, 1) / 2**0.5, rel=0.03)
    assert stats.norm.ppf(0.975) / 2**0.5 < calm < 0.3 * alone
    assert half({name: Spread(1.0, 3, kind="seeds") for name in "bcdef"}) == pytest.approx(alone, rel=0.03)
    assert half({name: Spread(100.0, 3) for name in "bcdef"}) > 2 * calm


def test_draws_cannot_vary_less_than_the_rows_inside_them_do() -> None:
    lucky = Spread(0.0, 2, least=1.0)
    error = Spreads({"a": lucky, "b": Spread(0.9, 2, least=1.0)}).mixture(["a"], [lucky], 0.0, 50)
    assert error.variances.min() >= 1.0 / 2


def test_with_one_run_a_strategy_it_is_the_paired_test_on_the_rows() -> None:
    runs = [*made("a", [[0.0]], noise=0.1, seed=1), *made("b", [[0.05]], noise=0.1, seed=2)]
    found = compare_strategies(runs, higher_is_better=False)
    difference = np.array(list(runs[1].values.values())) - np.array(list(runs[0].values.values()))
    expected = stats.ttest_1samp(difference, 0)
    interval = expected.confidence_interval(0.95)
    pair = found.pairs[0]
    assert (pair.p, pair.low, pair.high) == pytest.approx((expected.pvalue, interval.low, interval.high))
    assert (found.scope, pair.unit) == ("runs", "rows")
    assert found.notes[0] == "One selection only was drawn by a, b: nothing is said about the strategy itself."


def test_one_lucky_draw_does_not_make_a_strategy_better() -> None:
    lucky = [*made("a", [[0.0], [0.0], [0.01]]), *made("b", [[-0.3], [0.02], [0.01]])]
    alone = [run for run in lucky if run.draw in ("a-0", "b-0")]
    assert compare_strategies(alone, higher_is_better=False).pairs[0].winner == "b"
    together = compare_strategies(lucky, higher_is_better=False)
    assert (together.scope, together.pairs[0].winner) == ("strategies", None)
    assert together.notes[0].startswith("Few draws (a: 3, b: 3): intervals are wide")


def test_the_spread_of_draws_and_seeds_is_that_of_a_mixed_model() -> None:
    import pandas
    import statsmodels.formula.api as formula

    rng = np.random.default_rng(3)
    draws = [[float(level + rng.normal(0, 0.03)) for _ in range(4)] for level in rng.normal(0, 0.2, 12)]
    found = compare_strategies(made("a", draws), higher_is_better=False).spread["a"]
    frame = pandas.DataFrame([(d, level) for d, seeds in enumerate(draws) for level in seeds], columns=["draw", "loss"])
    model = formula.mixedlm("loss ~ 1", frame, groups="draw").fit(reml=True)
    assert found["seeds"] == pytest.approx(model.scale**0.5, rel=1e-4)
    assert found["draws"] == pytest.approx(float(model.cov_re.iloc[0, 0]) ** 0.5, rel=1e-3)


def test_seeds_of_one_selection_are_the_unit_where_nothing_else_was_varied() -> None:
    runs = [*made("a", [[0.0, 0.02, 0.01]]), *made("b", [[-0.2, -0.21, -0.19]])]
    found = compare_strategies(runs, higher_is_better=False)
    assert (found.scope, found.pairs[0].unit, found.pairs[0].winner) == ("selections", "seeds", "b")
    fixed = compare_strategies(runs, higher_is_better=False, fixed=["a", "b"])
    assert (fixed.scope, fixed.notes) == ("strategies", [])


def test_tokens_weigh_the_rows() -> None:
    rows = {0: (10.0, 5.0), 1: (90.0, 30.0)}  # losses of a and b
    runs = [
        MeasuredRun(name, name, name, 0, {row: pair[i] for row, pair in rows.items()}) for i, name in enumerate("ab")
    ]
    found = compare_strategies(runs, higher_is_better=False, weights={0: 10.0, 1: 30.0})
    assert (found.estimates["a"].value, found.estimates["b"].value) == (2.5, 0.875)
    assert found.pairs[0].effect == -1.625


def test_rows_that_a_run_lacks_are_left_out_of_its_pairs_and_none_gives_a_reason() -> None:
    scored = {"a-0": {1: 1.0, 2: 2.0, 4: 3.0}, "a-1": {1: 1.0, 2: 1.0, 4: 0.0}, "b-0": {3: 1.0}, "b-1": {4: 1.0},
              "c-0": {1: 0.0, 2: 0.5, 3: 9.0}, "c-1": {1: 0.0, 2: 1.5}}  # fmt: skip
    runs = [MeasuredRun(name, name[0], name, 0, values) for name, values in scored.items()]
    found = compare_strategies(runs, higher_is_better=False)
    assert [(pair.n, pair.effect, pair.reason) for pair in found.pairs] == [
        (0, None, "fewer than 2 items"), (2, -0.75, None), (0, None, "fewer than 2 items"),
    ]  # fmt: skip
    assert (found.estimates["a"].n, found.estimates["a"].value) == (3, pytest.approx(8 / 6))
    assert found.estimates["b"].reason == "nothing was scored in every run"


def yes_no(name: str, shares: list[float], rows: int = 72, seed: int = 0) -> list[MeasuredRun]:
    """Runs of one strategy, a draw each, with a yes on about this share of the prompts: the easy ones first."""
    rng = np.random.default_rng(seed)
    ease = np.random.default_rng(99).random(rows)
    return [
        MeasuredRun(f"{name}-{d}", name, f"{name}-{d}", 0, dict(enumerate((ease + rng.normal(0, 0.1, rows) < s) * 1.0)))
        for d, s in enumerate(shares)
    ]


def test_one_lucky_draw_does_not_make_a_strategy_better_at_clean_answers() -> None:
    runs = [*yes_no("a", [0.5, 0.55, 0.52]), *yes_no("b", [0.85, 0.5, 0.53], seed=1)]
    lucky = compare_runs({run.name: run.values for run in runs if run.draw in ("a-0", "b-0")}, higher_is_better=True)
    assert lucky[0].winner == "b-0"
    found = compare_strategies(runs, higher_is_better=True, bounds=(0, 1))
    assert (found.scope, found.pairs[0].winner, found.pairs[0].unit) == ("strategies", None, "draws")
    assert (found.pairs[0].smallest_detectable or 0) > abs(found.pairs[0].effect or 0)


def test_a_gain_in_clean_answers_that_every_draw_shows_is_declared() -> None:
    runs = [*yes_no("a", [0.5, 0.55, 0.52]), *yes_no("b", [0.85, 0.8, 0.84], seed=1)]
    pair = compare_strategies(runs, higher_is_better=True, bounds=(0, 1)).pairs[0]
    assert (pair.winner, pair.n_units, pair.n) == ("b", 3, 72)
    assert compare_strategies(runs, higher_is_better=False).pairs[0].winner == "a"


def test_an_interval_of_a_share_ends_at_0_and_1_and_none_is_made_up_where_nothing_varies() -> None:
    runs = [*yes_no("wide", [0.99, 0.6]), *yes_no("all", [2.0, 2.0]), *yes_no("none", [-1.0, -1.0], rows=72)]
    found = compare_strategies(runs, higher_is_better=True, bounds=(0, 1))
    assert found.estimates["wide"].high == 1.0
    assert (found.estimates["all"].low, found.estimates["all"].reason) == (None, "the same in every row and run")
    assert found.pairs[-1].effect == -1.0
    assert (found.pairs[-1].p, found.pairs[-1].winner) == (2.0**-71, "all")
    few = [
        MeasuredRun(f"{n}{d}", n, f"{n}{d}", 0, dict.fromkeys(range(3), float(n == "a"))) for n in "ab" for d in "01"
    ]
    assert compare_strategies(few, higher_is_better=True).pairs[0].winner is None  # p is 0.25: 3 prompts are too few


@pytest.mark.parametrize(("n_draws", "spread"), [(2, 0.5), (3, 0.5), (3, 0.0)])
def test_equal_strategies_are_rarely_called_different_on_a_yes_no_metric(n_draws: int, spread: float) -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        hard = rng.normal(1, 1.5, 40)
        runs = [
            MeasuredRun(f"{name}{d}", name, f"{name}{d}", 0, dict(enumerate((rng.random(40) < chance) * 1.0)))
            for name in "ab"
            for d in range(n_draws)
            for chance in [1 / (1 + np.exp(-hard - rng.normal(0, spread)))]
        ]
        alarms += compare_strategies(runs, higher_is_better=True, bounds=(0, 1)).pairs[0].winner is not None
    assert alarms <= 24  # 8% of 300: 5% and three standard errors of the simulation


def test_holm_corrects_over_all_pairs_of_strategies() -> None:
    from statsmodels.stats.multitest import multipletests

    runs = [
        run
        for i, name in enumerate("abc")
        for run in made(name, [[0.02 * i], [0.03 * i + 0.01], [0.01]], noise=0.05, seed=i)
    ]
    pairs = compare_strategies(runs, higher_is_better=False).pairs
    raw = [pair.p for pair in pairs]
    assert [pair.p_holm for pair in pairs] == pytest.approx(multipletests(raw, method="holm")[1].tolist())
