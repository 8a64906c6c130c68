"""Verdicts on loss histories: the published notebook run, and one planted history of every kind."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest

from evaluate_suite.training_curve.rules import VERDICTS, HistoryPoint, Verdict, judge
from tests.evaluate_suite.planted_histories import (
    FLAT,
    HELD_OUT_SEEDS,
    LABELS,
    TUNING_SEEDS,
    PlantedHistory,
    best_excess,
    macro_f1,
    onset_error,
    plant,
)

NOTEBOOK_TRAIN = (3.4447, 2.3417, 2.1127, 1.7639, 1.5759, 1.4730, 1.3543, 1.2742, 1.1549, 1.1733)
NOTEBOOK_EVAL = (3.1668, 2.3865, 2.1332, 1.9186, 1.8500, 1.8451, 1.8772, 1.9188, 1.9477, 1.9944)


def points(train: tuple[float, ...], evals: tuple[float | None, ...]) -> list[HistoryPoint]:
    return [HistoryPoint(10 * (i + 1), t, e) for i, (t, e) in enumerate(zip(train, evals, strict=True))]


def test_the_published_notebook_run_is_overfit_with_best_step_60() -> None:
    verdict = judge(points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL))
    assert (verdict.verdict, verdict.best_step, verdict.onset_step) == ("overfit", 60, 70)
    assert verdict.rule == (
        "The eval loss was lowest at step 60 (1.8451) and rose to 1.9710, 6.8% above it, over 4 evaluations."
    )


FALLING = tuple(3 * math.exp(-i / 2) + 1 for i in range(12))
SLOW = tuple(3 * math.exp(-i / 6) + 1 for i in range(8))


@pytest.mark.parametrize(
    ("train", "evals", "expected"),
    [
        (FALLING, tuple(x + 0.1 for x in FALLING), "good"),
        (SLOW, tuple(x + 0.1 for x in SLOW), "underfit"),
        (FALLING, tuple(x + 0.1 + 0.08 * max(0, i - 5) for i, x in enumerate(FALLING)), "overfit"),
        (
            tuple(x * (1.4 if i % 2 else 0.7) for i, x in enumerate(FALLING)),
            tuple(x + 0.1 for x in FALLING),
            "unstable",
        ),
        ((*FALLING[:8], 3.0, 5.0, 8.0, 9.0), (*FALLING[:8], 3.0, 5.0, 8.0, 9.0), "diverged"),
        ((*FALLING[:8], math.nan, 1.0, 1.0, 1.0), FALLING, "diverged"),
        (FALLING, tuple(x * 0.3 for x in FALLING), "leaking"),
        (FALLING[:2], (3.0, 2.5), "too_short"),
    ],
)
def test_a_planted_history_gets_its_verdict(
    train: tuple[float, ...], evals: tuple[float | None, ...], expected: str
) -> None:
    verdict = judge(points(train, evals))
    assert verdict.verdict == expected
    assert verdict.verdict in VERDICTS
    assert verdict.suggestion.endswith(".")


def test_missing_points_repeats_and_disorder_change_nothing() -> None:
    whole = points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL)
    split = [HistoryPoint(p.step, p.train_loss, None) for p in whole] + [
        HistoryPoint(p.step, None, p.eval_loss) for p in whole
    ]
    assert judge(list(reversed(split))) == judge(whole)


def test_an_empty_history_is_too_short() -> None:
    assert judge([]).verdict == "too_short"
    assert judge([]).best_step is None


@pytest.fixture(scope="module")
def judged() -> list[tuple[PlantedHistory, Verdict]]:
    """Every planted history of the seeds that no threshold was chosen on, with its verdict."""
    planted = [plant(label, seed) for label in LABELS for seed in HELD_OUT_SEEDS]
    return [(history, judge(history.points)) for history in planted]


def test_planted_histories_that_nothing_was_tuned_on_get_their_verdict(
    judged: list[tuple[PlantedHistory, Verdict]],
) -> None:
    assert not set(HELD_OUT_SEEDS) & set(TUNING_SEEDS)
    counts = Counter((history.label, verdict.verdict) for history, verdict in judged)
    assert macro_f1(counts) >= 0.95
    for label in LABELS:
        assert counts[label, label] >= 0.9 * len(HELD_OUT_SEEDS), label


def test_the_onset_is_found_within_one_eval_and_the_best_step_is_as_good_as_the_best(
    judged: list[tuple[PlantedHistory, Verdict]],
) -> None:
    overfit = [(h, v) for h, v in judged if h.label == "overfit" and v.verdict == "overfit"]
    assert sum(onset_error(h, v, flat=0.0) <= 1 for h, v in overfit) >= 0.95 * len(overfit)
    assert sum(onset_error(h, v, flat=FLAT) <= 1 for h, v in overfit) >= 0.98 * len(overfit)
    assert max(best_excess(h, v) for h, v in overfit) < 0.02


def test_a_verdict_is_plain_json_and_carries_its_numbers(judged: list[tuple[PlantedHistory, Verdict]]) -> None:
    for history, verdict in judged[::25]:
        record = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
        assert set(record) == {"verdict", "best_step", "onset_step", "rule", "evidence", "suggestion"}
        assert record["evidence"]["n_evals"] == len(history.eval_steps)
        assert record["rule"].endswith(".") and any(sign.isdigit() for sign in record["rule"])


def test_a_restart_takes_back_what_was_logged_after_its_checkpoint() -> None:
    whole = points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL)
    lost = [HistoryPoint(p.step, 9.0, 9.0) for p in whole[3:6]]
    assert judge([*whole[:3], *lost, *whole[3:]]) == judge(whole)
    shorter = [*whole, *(HistoryPoint(p.step, p.train_loss, p.eval_loss) for p in whole[3:6])]
    assert judge(shorter) == judge(whole[:6])


def test_nan_that_stands_for_not_logged_is_no_divergence() -> None:
    nan = math.nan
    whole = points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL)
    apart = [
        p for q in whole for p in (HistoryPoint(q.step - 5, q.train_loss, nan), HistoryPoint(q.step, nan, q.eval_loss))
    ]
    assert judge(apart).verdict == "overfit"
    assert judge([*whole[:8], HistoryPoint(90, nan, nan), HistoryPoint(100, nan, nan)]).verdict == "diverged"
    assert judge([*whole[:8], HistoryPoint(90, math.inf, 1.9)]).rule == "The loss at step 90 is not a finite number."


def test_losses_that_are_never_a_number_are_a_divergence() -> None:
    found = judge([HistoryPoint(i, math.nan, math.nan) for i in (10, 20, 30)])
    assert (found.verdict, found.rule) == ("diverged", "The loss at step 10 is not a finite number.")
    assert judge([HistoryPoint(i, math.nan, 2.5) for i in range(8)]).verdict == "underfit"


@pytest.mark.parametrize("evals", [(0.0,) * 6, (2.0, 1.0, 0.0, 0.0, 0.0, 0.0), (2.0, 1.0, 0.0, 0.0, 1.0, 1.5)])
def test_losses_of_nought_are_numbers_like_others(evals: tuple[float, ...]) -> None:
    for train in (evals, (0.0, 0.0, 0.0, 0.0, 1.0, 2.0)):
        found = judge(points(train, evals))
        assert found.verdict in VERDICTS and found.rule
    assert judge(points((0.0,) * 6, (0.0,) * 6)).verdict == "good"


def test_eval_losses_alone_are_enough_to_see_overfitting_and_divergence() -> None:
    alone = [HistoryPoint(p.step, None, p.eval_loss) for p in points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL)]
    assert judge(alone).verdict == "overfit"
    rising = [HistoryPoint(i, None, loss) for i, loss in enumerate([3.0, 2.0, 1.8, 4.0, 6.0, 9.0])]
    assert judge(rising).verdict == "diverged"


def test_one_evaluation_after_the_valley_must_rise_three_times_as_far() -> None:
    def said(last: float) -> str:
        evals = [3.0, 2.2, 1.9, 1.8, last]
        return judge([HistoryPoint(10 * i, 3.0 / i, loss) for i, loss in enumerate(evals, start=1)]).verdict

    assert (said(1.85), said(2.1)) == ("good", "overfit")


def test_losses_that_never_moved_are_underfit() -> None:
    flat = [HistoryPoint(10 * i, 2.5, 2.6) for i in range(8)]
    assert (judge(flat).verdict, judge(flat).rule) == (
        "underfit", "The losses hardly moved: eval loss went from 2.6000 to 2.6000.",
    )  # fmt: skip
