"""pass@k is the unbiased estimator, exactly, and the mean of nothing is nothing."""

from __future__ import annotations

from itertools import combinations

import pytest

from curate.errors import UsageError
from evaluate_suite.execution.pass_at_k import mean_pass_at_k, pass_at_k


@pytest.mark.parametrize("n", range(1, 8))
def test_it_is_the_share_of_draws_with_a_pass(n: int) -> None:
    for c in range(n + 1):
        samples = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            draws = list(combinations(samples, k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-15)


def test_figures_of_the_paper_s_formula() -> None:
    assert pass_at_k(200, 13, 1) == 0.065
    assert pass_at_k(10, 3, 5) == pytest.approx(1 - 21 / 252)
    assert pass_at_k(5, 0, 5) == 0.0
    assert pass_at_k(5, 1, 5) == 1.0


def test_tasks_with_too_few_samples_are_left_out() -> None:
    assert mean_pass_at_k([(10, 10), (3, 0)], 10) == 1.0
    assert mean_pass_at_k([(10, 10), (3, 0)], 1) == 0.5
    assert mean_pass_at_k([(3, 0)], 10) is None
    assert mean_pass_at_k([], 1) is None


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, 1, 0), (3, -1, 1)])
def test_what_has_no_value_is_a_usage_error(n: int, c: int, k: int) -> None:
    with pytest.raises(UsageError, match=f"pass@{k} of {c} passes in {n} samples"):
        pass_at_k(n, c, k)
