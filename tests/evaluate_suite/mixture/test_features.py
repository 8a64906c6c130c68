"""Features of rows and the law of their weights: right on rows done by hand, exact on made losses, and cautious."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from curate.errors import UserError
from curate.pool.rows import Row, build_row
from evaluate_suite.mixture.features import LUCKS, ByFeatures, repeated_share, row_features, sides
from evaluate_suite.mixture.law import best_weights, fit_weights

HIGH = norm.ppf(5 / 6)  # the normal score of the largest of three; the middle one has 0
FEATURES, RUNS = 5, 80
SLOPES = np.array([0.02, -0.01, 0.0, 0.005, 0.0])


def three_of_each() -> tuple[list[Row], np.ndarray, np.ndarray]:
    """Six rows of two sources, turn by turn; the vectors of the first lie on a line, those of the other on a point."""
    rows = [
        build_row(0, "a", "one two three four one two three four", "x"),
        build_row(1, "a", "def f(:", "y"),
        build_row(2, "aaa", "one two three four", "x"),
        build_row(3, "a", "An answer.", "y"),
        build_row(4, "aa", "one two three four five", "x"),
        build_row(5, "a", "An answer, too.", "y"),
    ]
    vectors = np.zeros((6, 3), dtype=np.float32)
    vectors[[0, 2, 4], 1] = [-3, 1, 2]
    return rows, np.array([10, 20, 30, 20, 20, 20]), vectors


def test_features_are_memberships_and_normal_scores_within_the_source() -> None:
    names, values = row_features(*three_of_each())
    by_name = dict(zip(names, values.T.tolist(), strict=True))
    assert names == [
        "source x", "tokens in x", "prompt characters", "well-formed", "repeated words", "axis 1 in x", "source y",
    ]  # fmt: skip
    assert by_name["source x"] == [0.5, -0.5] * 3
    assert by_name["source y"] == [-0.5, 0.5] * 3
    assert by_name["tokens in x"] == pytest.approx([-HIGH, 0, HIGH, 0, 0, 0], abs=1e-6)
    assert by_name["prompt characters"] == pytest.approx([-HIGH, 0, HIGH, 0, 0, 0], abs=1e-6)
    ties = norm.ppf(1 / 3)  # two that share the lowest ranks of three
    assert by_name["repeated words"] == pytest.approx([HIGH, 0, ties, 0, ties, 0], abs=1e-6)
    assert by_name["well-formed"] == pytest.approx([0, -HIGH, 0, -ties, 0, -ties], abs=1e-6)
    assert by_name["axis 1 in x"] == pytest.approx([-HIGH, 0, 0, 0, HIGH, 0], abs=1e-6)


def test_one_source_has_no_membership_and_small_sources_are_one() -> None:
    rows, tokens, vectors = three_of_each()
    names, _ = row_features(rows[::2], tokens[::2], vectors[::2])
    assert not [name for name in names if name.startswith("source")]
    many = [build_row(i, "a" * (i % 7), f"answer {i}", "big" if i < 96 else f"small {i % 2}") for i in range(100)]
    sized = np.array([10] * 96 + [1, 2, 3, 4])
    names, values = row_features(many, sized, np.random.default_rng(0).standard_normal((100, 5)).astype(np.float32))
    assert {name for name in names if name.startswith("source")} == {"source big", "source other sources"}
    assert {f"axis {number} in big" for number in (1, 2, 3, 4)} <= set(names)
    assert "axis 5 in big" not in names
    lengths = values[96:, names.index("tokens in other sources")]
    assert lengths == pytest.approx(norm.ppf([1 / 8, 3 / 8, 5 / 8, 7 / 8]), abs=1e-6)


def test_rows_that_differ_in_nothing_are_refused() -> None:
    rows = [build_row(i, "a", f"answer {i}", "x") for i in range(4)]
    with pytest.raises(UserError, match="The 4 rows differ in no feature"):
        row_features(rows, np.full(4, 5), np.ones((4, 3), dtype=np.float32))


def test_an_axis_points_to_where_its_largest_entry_is_positive() -> None:
    line = np.array([[0, -1, 0.5], [0, 1, -0.5], [0, 3, -1.5]], dtype=np.float32)
    for vectors in (line, -line):
        along = sides(vectors)
        assert along.shape == (3, 3)
        assert along[0] == pytest.approx(np.sign(vectors[2, 1]) * math.sqrt(1.25) * np.array([-2, 0, 2]), abs=1e-5)
        assert not along[1:].any()  # no rounding errors that ranks would make features of


@pytest.mark.parametrize(
    ("text", "share"), [("a b c", 0.0), ("a b c d", 0.0), ("a b c d a b c d", 0.2), ("x x x x x x", 2 / 3)]
)
def test_the_share_of_repeated_words(text: str, share: float) -> None:
    assert repeated_share(text) == pytest.approx(share)


def made_runs(slopes: np.ndarray, curvature: float, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, losses and lucks of runs; a luck's level is worth more than all that weights do."""
    rng = np.random.default_rng(3)
    weights, luck = 0.3 * rng.standard_normal((RUNS, FEATURES)), np.arange(RUNS) % LUCKS
    level = math.log(2) + 0.1 * (luck - luck.mean())
    log_loss = level + weights @ slopes + curvature * (weights**2).sum(axis=1)
    return weights, np.exp(log_loss + noise * rng.standard_normal(RUNS)), luck


def test_a_loss_that_follows_the_weights_is_learnt_whatever_the_luck() -> None:
    law = fit_weights(*made_runs(SLOPES, 0.004, 0.0), 0.5)
    assert law.rank_correlation > 0.99
    assert law.slopes == pytest.approx(SLOPES, abs=1e-4)
    assert law.curvature == pytest.approx(0.004, abs=1e-4)
    assert law.predicted_pool_loss == pytest.approx(2, rel=1e-3)


def test_a_loss_that_has_nothing_to_do_with_the_weights_is_not_to_be_believed() -> None:
    assert fit_weights(*made_runs(0 * SLOPES, 0.0, 0.01), 0.5).rank_correlation < 0.3
    weights, losses, luck = made_runs(0 * SLOPES, 0.0, 0.0)
    law, best = best_weights(fit_weights(weights, np.full_like(losses, 2.0), luck, 0.5), 1.0)
    assert law.rank_correlation == 0.0
    assert np.abs(best).max() < 1e-6 or law.predicted_loss == pytest.approx(2.0)


def test_the_best_weights_lie_against_the_slopes_and_within_their_reach() -> None:
    flat = fit_weights(*made_runs(SLOPES, -0.004, 0.0), 0.5)
    assert flat.curvature == 0.0
    law, best = best_weights(flat, 0.4)
    assert np.linalg.norm(best) == pytest.approx(0.4)
    assert best @ np.array(law.slopes) == pytest.approx(-0.4 * np.linalg.norm(law.slopes))
    assert math.log(law.predicted_loss / law.predicted_pool_loss) == pytest.approx(best @ np.array(law.slopes))

    bent = fit_weights(*made_runs(SLOPES, 0.1, 0.0), 0.5)
    law, best = best_weights(bent, 0.4)
    assert best == pytest.approx(-SLOPES / 0.2, abs=2e-3)  # the loss rises again before the reach ends
    assert math.log(law.predicted_loss / law.predicted_pool_loss) == pytest.approx(-(SLOPES @ SLOPES) / 0.4, rel=0.01)


def test_runs_share_eight_draws_and_differ_by_their_weights() -> None:
    drawn = np.array([[0.1, 0.2], [0.1, 0.3]])
    way = ByFeatures(["a", "b"], ["one", "two"], np.array([[1.0, 0.0], [0.0, 2.0]]), drawn, 0.3)
    assert [way.luck(number) for number in (0, 7, 8, 17)] == [0, 7, 0, 1]
    assert way.of_run(1)[1] == pytest.approx([0.1, 0.6])
    others = [
        ByFeatures(["a", "c"], way.names, way.values, drawn, 0.3),
        ByFeatures(way.row_ids, ["one", "three"], way.values, drawn, 0.3),
        ByFeatures(way.row_ids, way.names, 2 * way.values, drawn, 0.3),
    ]
    assert len({each.digest(0) for each in [way, *others]} | {way.digest(1)}) == 5
    assert way.notes() == ["2 proxy runs are few for 2 features: --proxies 16 has 8 for each."]


def test_runs_of_which_hardly_two_share_a_draw_teach_nothing() -> None:
    weights = np.random.default_rng(6).standard_normal((9, 3))
    law = fit_weights(weights, np.exp(0.1 * weights[:, 0]), np.arange(9) % 8, 0.5)
    assert law.rank_correlation == 0  # without the one draw that two runs share there is nothing to learn from
