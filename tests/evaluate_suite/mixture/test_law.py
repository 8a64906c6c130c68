"""The mixing law and its strata: exact on made shares, cautious where there is nothing to learn."""

from __future__ import annotations

import numpy as np
import pytest

from curate.errors import UserError
from evaluate_suite.mixture.law import best_shares, fit_law
from evaluate_suite.mixture.proxies import ROWS, SOURCES, Result
from evaluate_suite.mixture.strata import draw_shares, most_shares, name_strata

POOL = np.array([0.5, 0.3, 0.2])
MOST = np.array([1.0, 1.0, 0.6])


def drawn(n: int, seed: int = 0) -> np.ndarray:
    return draw_shares(POOL, MOST, n, 0.7, np.random.default_rng(seed))


def test_a_loss_that_follows_the_shares_is_learnt_and_the_best_shares_move_the_right_way() -> None:
    shares = drawn(60)
    losses = 2.0 * (shares[:, 0] + 0.005) ** 0.02 * (shares[:, 2] + 0.005) ** -0.05
    law, best = best_shares(fit_law(shares, losses, 0.5), drawn(20_000, 1), POOL)
    assert law.rank_correlation > 0.99
    assert law.coefficients == pytest.approx([0.02, 0.0, -0.05], abs=2e-3)
    assert sum(best) == pytest.approx(1)
    assert best[0] < 0.35 and 0.4 < best[2] <= 0.6
    assert law.predicted_loss < law.predicted_pool_loss
    assert law.predicted_pool_loss == pytest.approx(2.0 * 0.505**0.02 * 0.205**-0.05, rel=1e-3)


def test_a_loss_that_has_nothing_to_do_with_the_shares_is_not_to_be_believed() -> None:
    losses = 2 + 0.01 * np.random.default_rng(5).standard_normal(60)
    assert fit_law(drawn(60), losses, 0.5).rank_correlation < 0.3
    assert fit_law(drawn(60), np.full(60, 2.0), 0.5).rank_correlation == 0.0


def test_shares_add_up_and_no_stratum_gives_more_than_it_has() -> None:
    shares = drawn(500)
    assert shares.sum(axis=1) == pytest.approx(np.ones(500))
    assert (shares <= MOST + 1e-12).all() and (shares > 0).all()
    assert (shares[:, 2] == 0.6).any()
    assert np.median(shares, axis=0) == pytest.approx(POOL, abs=0.06)


def test_a_budget_that_takes_nearly_the_whole_pool_leaves_nothing_to_mix() -> None:
    assert most_shares(np.array([500.0, 500.0]), 600.0).tolist() == [0.75, 0.75]
    with pytest.raises(UserError, match=r"950 of the pool's 1,000 tokens leave no room to mix"):
        most_shares(np.array([500.0, 500.0]), 950.0)


def test_strata_are_source_length_and_cluster_and_small_parts_stay_together() -> None:
    tokens = np.array([10] * 30 + [20] * 30 + [30] * 30 + [10])
    sources = ["a"] * 90 + ["b"]  # of b there is 0.5% of the tokens
    clusters = np.array(([0, 1] * 15) + [0] * 30 + ([0] * 29 + [1]) + [0], dtype=np.int32)
    names = name_strata(sources, tokens, clusters)
    assert sorted(set(names.tolist())) == [
        "a, long", "a, middle, cluster 1", "a, short, cluster 1", "a, short, cluster 2", "other sources",
    ]  # fmt: skip
    assert names[90] == "other sources"
    assert (names == "a, long").sum() == 30


def test_the_loss_of_a_run_is_that_of_all_tokens_or_the_mean_over_sources() -> None:
    result = Result(0, [], {"a": (30.0, 10), "b": (30.0, 30)}, 1.0)
    assert (result.loss(ROWS), result.loss(SOURCES)) == (1.5, 2.0)
