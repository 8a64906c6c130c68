"""Statistics, held against scipy and statsmodels, and against what is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluate_suite.statistics.pairs import (
    bootstrap_interval,
    compare_runs,
    detectable_effect,
    mean_with_interval,
    overall_winner,
    paired_difference,
    paired_gain,
    ratio_with_interval,
    share_with_interval,
)


def test_a_mean_of_nothing_is_none_with_a_reason_and_one_value_has_no_interval() -> None:
    assert mean_with_interval([]).reason == "nothing was scored"
    one = mean_with_interval([2.0])
    assert (one.value, one.low, one.high) == (2.0, None, None)


def test_the_mean_has_students_interval() -> None:
    x = [1.0, 2.0, 4.0, 8.0]
    found = mean_with_interval(x)
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_share_has_wilsons_interval() -> None:
    found = share_with_interval(7, 10)
    expected = stats.binomtest(7, 10).proportion_ci(0.95, "wilson")
    assert (found.value, found.low, found.high) == pytest.approx((0.7, expected.low, expected.high))
    assert share_with_interval(0, 0).value is None


def test_equal_weights_make_a_ratio_a_mean() -> None:
    x = [3.0, 1.0, 4.0, 1.0, 5.0]
    ratio, mean = ratio_with_interval([2 * v for v in x], [2.0] * 5), mean_with_interval(x)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((mean.value, mean.low, mean.high))


def test_a_gain_is_weighted_by_tokens_and_positive_when_the_tuned_loss_is_lower() -> None:
    gain = paired_gain([20.0, 30.0, 40.0], [10.0, 25.0, 38.0], [10, 10, 20])
    assert gain.value == pytest.approx(17 / 40)


def test_pairing_finds_a_small_difference_under_large_shared_noise() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(2, 1, 150)
    runs = {
        name: dict(enumerate(shared + shift + rng.normal(0, 0.05, 150)))
        for name, shift in (("a", 0.0), ("b", -0.05), ("c", 0.0))
    }
    pairs = {(pair.first, pair.second): pair for pair in compare_runs(runs, higher_is_better=False)}
    assert pairs["a", "b"].winner == "b"
    assert pairs["a", "c"].winner is None
    assert 0.01 < (pairs["a", "c"].smallest_detectable or 0) < 0.03
    assert overall_winner(list(pairs.values())) == "b"


def test_yes_and_no_are_tested_by_mcnemars_exact_test() -> None:
    a = dict(enumerate([1] * 10 + [0] * 10))
    b = dict(enumerate([1] * 10 + [1] * 8 + [0] * 2))
    assert paired_difference("a", "b", {"a": a, "b": b}).p == pytest.approx(stats.binomtest(8, 8).pvalue)


def test_samples_of_one_task_count_as_one_unit() -> None:
    a = {(task, sample): 0.0 for task in range(5) for sample in range(20)}
    b = {(task, sample): float(task % 2) + 0.01 * sample for task in range(5) for sample in range(20)}
    alone = paired_difference("a", "b", {"a": a, "b": b})
    clustered = paired_difference("a", "b", {"a": a, "b": b}, clusters={item: item[0] for item in a})
    assert clustered.effect == pytest.approx(alone.effect)
    assert (clustered.high - clustered.low) > 3 * (alone.high - alone.low)  # type: ignore[operator]
    assert clustered.p == pytest.approx(2 / 2**5)


def test_holm_and_false_discovery_correct_over_all_pairs() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(1)
    runs = {name: dict(enumerate(rng.normal(shift, 1, 40))) for name, shift in (("a", 0), ("b", 0.5), ("c", 1.0))}
    pairs = compare_runs(runs, higher_is_better=True)
    raw = [pair.p for pair in pairs]
    assert [pair.p_holm for pair in pairs] == pytest.approx(multipletests(raw, method="holm")[1].tolist())
    assert [pair.p_fdr for pair in pairs] == pytest.approx(multipletests(raw, method="fdr_bh")[1].tolist())


def test_runs_with_no_common_item_have_a_reason_and_no_effect() -> None:
    pair = paired_difference("a", "b", {"a": {1: 0.0}, "b": {2: 0.0}})
    assert (pair.effect, pair.reason) == (None, "fewer than 2 items")


def test_the_bootstrap_interval_is_scipys_and_the_ratio_is_weighted() -> None:
    x = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
    expected = stats.bootstrap(
        (np.array(x),), np.mean, n_resamples=2_000, rng=np.random.default_rng(0)
    ).confidence_interval
    found = bootstrap_interval(x)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05)
    assert bootstrap_interval([1.0, 6.0], [1.0, 3.0]).value == 1.75
    assert bootstrap_interval([2.0, 2.0]) == bootstrap_interval([2.0, 2.0], [1.0, 1.0])
    assert (bootstrap_interval([]).reason, bootstrap_interval([1.0]).low) == ("nothing was scored", None)


def test_mcnemars_exact_test_is_statsmodels() -> None:
    from statsmodels.stats.contingency_tables import mcnemar

    rng = np.random.default_rng(5)
    a, b = (dict(enumerate((rng.random(60) < p).astype(float))) for p in (0.5, 0.7))
    table = [[sum(a[i] == u and b[i] == v for i in a) for v in (1, 0)] for u in (1, 0)]
    assert paired_difference("a", "b", {"a": a, "b": b}).p == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_an_interval_over_tasks_is_that_of_cluster_robust_regression() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(6)
    tasks = [t for t in range(25) for _ in range(1 + t % 4)]
    difference = rng.normal(0.1, 0.2, len(tasks)) + rng.normal(0, 0.3, 25)[tasks]
    a = dict.fromkeys(range(len(tasks)), 0.0)
    b = dict(enumerate(difference))
    pair = paired_difference("a", "b", {"a": a, "b": b}, clusters=dict(enumerate(tasks)))
    fit = sm.OLS(difference, np.ones(len(tasks))).fit(cov_type="cluster", cov_kwds={"groups": np.array(tasks)})
    error = (pair.high - pair.low) / 2 / stats.t.ppf(0.975, 24)  # type: ignore[operator]
    assert pair.effect == pytest.approx(float(fit.params[0]))
    # statsmodels' small-sample factor is G/(G-1) * (n-1)/(n-1), ours that of a variance over G clusters: the same.
    assert error == pytest.approx(float(fit.bse[0]), rel=1e-6)
    assert (pair.unit, pair.n_units) == ("tasks", 25)


def test_what_could_have_been_seen_is_near_the_exact_power_of_the_t_test() -> None:
    from statsmodels.stats.power import TTestPower

    for n in (4, 10, 50, 200):
        exact = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
        assert detectable_effect(1 / n**0.5, n - 1) == pytest.approx(exact, rel=0.03)
    assert detectable_effect(0.0, 10) is None
