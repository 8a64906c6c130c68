"""What a score is worth in random tokens, on curves whose answer is known."""

from __future__ import annotations

import math

import pytest

from evaluate_suite.statistics.equivalents import random_equivalent

CURVE = {1_000.0: [2.0, 2.02, 1.98], 4_000.0: [1.8, 1.81, 1.79], 16_000.0: [1.6, 1.62, 1.58]}


def test_a_score_between_two_budgets_lies_between_them_on_the_logarithm_of_tokens() -> None:
    found = random_equivalent(CURVE, [1.7], tokens_used=4_000)
    assert (found.tokens, found.ratio) == (pytest.approx(8_000), pytest.approx(2.0))
    assert found.n_draws == 9
    assert found.low is not None and found.high is not None
    assert found.low < 8_000 < found.high


def test_the_interval_is_the_same_every_time_and_narrower_with_less_spread() -> None:
    calm = {tokens: [sum(scores) / 3 + d for d in (-0.001, 0.0, 0.001)] for tokens, scores in CURVE.items()}
    wide, narrow = random_equivalent(CURVE, [1.7]), random_equivalent(calm, [1.7])
    assert wide == random_equivalent(CURVE, [1.7])
    assert math.log(narrow.high / narrow.low) < 0.2 * math.log(wide.high / wide.low)  # type: ignore[operator]


def test_higher_scores_can_be_better() -> None:
    shares = {1_000.0: [0.2, 0.2], 4_000.0: [0.4, 0.4]}
    assert random_equivalent(shares, [0.3], higher_is_better=True).tokens == pytest.approx(2_000)


@pytest.mark.parametrize(
    ("curve", "score", "reason"),
    [
        ({}, 1.7, "random selections exist at 0 budget(s); two are needed"),
        ({1_000.0: [2.0, 2.1]}, 1.7, "random selections exist at 1 budget(s); two are needed"),
        (CURVE, 1.5, "better than random at the largest budget tried (16,000 tokens)"),
        (CURVE, 2.5, "no better than random at the smallest budget tried (1,000 tokens)"),
    ],
)
def test_what_cannot_be_said_is_none_with_a_reason(curve: dict[float, list[float]], score: float, reason: str) -> None:
    found = random_equivalent(curve, [score])
    assert (found.tokens, found.low, found.high, found.reason) == (None, None, None, reason)


def test_single_draws_give_a_figure_without_an_interval() -> None:
    found = random_equivalent({1_000.0: [2.0], 4_000.0: [1.8]}, [1.9])
    assert found.tokens == pytest.approx(2_000)
    assert (found.low, found.high) == (None, None)
    assert found.reason == "too few draws for an interval: draw each budget twice or more"


def test_a_bound_beyond_the_budgets_is_open() -> None:
    assert random_equivalent(CURVE, [1.601]).high is None


def test_a_curve_that_rises_by_chance_is_levelled() -> None:
    uneven = {1_000.0: [2.0], 2_000.0: [2.1], 4_000.0: [1.8]}
    assert random_equivalent(uneven, [2.05]).tokens == pytest.approx(1_000)
