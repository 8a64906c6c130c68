"""Verdicts on loss histories: the published notebook run, and one planted history of every kind."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import pytest

from evaluate_suite.training_curve.readers import points_of
from evaluate_suite.training_curve.rules import judge
from evaluate_suite.training_curve.types import REMARKS, VERDICTS, Context, HistoryPoint, Verdict
from tests.evaluate_suite.training_curve.planted_histories import (
    FLAT,
    HELD_OUT_SEEDS,
    LABELS,
    TUNING_SEEDS,
    WORDS,
    PlantedHistory,
    best_excess,
    macro_f1,
    onset_error,
    plant,
    said,
)
from tests.shared_folder import SHARED

SEEDS = HELD_OUT_SEEDS[::3]
NOTEBOOK_TRAIN = (3.4447, 2.3417, 2.1127, 1.7639, 1.5759, 1.4730, 1.3543, 1.2742, 1.1549, 1.1733)
NOTEBOOK_EVAL = (3.1668, 2.3865, 2.1332, 1.9186, 1.8500, 1.8451, 1.8772, 1.9188, 1.9477, 1.9944)


def points(train: tuple[float, ...], evals: tuple[float | None, ...]) -> list[HistoryPoint]:
    return [HistoryPoint(10 * (i + 1), t, e) for i, (t, e) in enumerate(zip(train, evals, strict=True))]


def test_the_published_notebook_run_is_overfit_with_best_step_60() -> None:
    verdict = judge(points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL))
    assert (verdict.verdict, verdict.best_step, verdict.onset_step) == ("overfit", 60, 70)
    assert verdict.rule == (
        "The eval loss was lowest at step 60 (1.8451) and rose to 1.9944 at step 100, 8.1% above it, "
        "over 4 evaluations."
    )


FALLING = tuple(3 * math.exp(-i / 2) + 1 for i in range(12))
SLOW = tuple(3 * math.exp(-i / 6) + 1 for i in range(8))


@pytest.mark.parametrize(
    ("train", "evals", "expected"),
    [
        (FALLING, tuple(x + 0.1 for x in FALLING), "good"),
        (SLOW, tuple(x + 0.1 for x in SLOW), "underfit"),
        (FALLING, tuple(x + 0.1 + 0.08 * max(0, i - 5) for i, x in enumerate(FALLING)), "overfit"),
        (tuple(x * (1.4 if i % 2 else 0.7) for i, x in enumerate(FALLING)), FALLING, "good"),
        ((*FALLING[:8], 3.0, 5.0, 8.0, 9.0), (*FALLING[:8], 3.0, 5.0, 8.0, 9.0), "diverged"),
        ((*FALLING[:8], math.nan, 1.0, 1.0, 1.0), FALLING, "diverged"),
        (FALLING, tuple(x * 0.3 for x in FALLING), "good"),
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
    """A third of the planted histories that no threshold was chosen on (the benchmark has all), with their verdicts."""
    planted = [plant(label, seed) for label in LABELS for seed in SEEDS]
    return [(history, judge(history.points)) for history in planted]


def test_planted_histories_that_nothing_was_tuned_on_get_their_verdict(
    judged: list[tuple[PlantedHistory, Verdict]],
) -> None:
    assert not set(HELD_OUT_SEEDS) & set(TUNING_SEEDS)
    words = [(history.label, said(verdict)) for history, verdict in judged]
    assert macro_f1(words) >= 0.97
    for label in LABELS:
        right = [WORDS[label] <= spoken for of, spoken in words if of == label]
        assert sum(right) >= 0.85 * len(SEEDS), label


def test_the_onset_is_found_within_one_eval_and_the_best_step_is_as_good_as_the_best(
    judged: list[tuple[PlantedHistory, Verdict]],
) -> None:
    overfit = [(h, v) for h, v in judged if h.label == "overfit" and v.verdict == "overfit"]
    assert sum(onset_error(h, v, flat=0.0) <= 1 for h, v in overfit) >= 0.95 * len(overfit)
    assert sum(onset_error(h, v, flat=FLAT) <= 1 for h, v in overfit) >= 0.98 * len(overfit)
    assert max(best_excess(h, v) for h, v in overfit) < 0.02


def test_a_verdict_is_plain_json_and_carries_its_numbers(judged: list[tuple[PlantedHistory, Verdict]]) -> None:
    for history, verdict in judged[::25]:
        record = json.loads(json.dumps(verdict.as_record(), allow_nan=False))
        assert set(record) == {"verdict", "best_step", "onset_step", "rule", "evidence", "suggestion", "remarks"}
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
    assert (
        judge([*whole[:8], HistoryPoint(90, math.inf, 1.9)]).rule == "The train loss at step 90 is not a finite number."
    )


def test_nan_beside_a_number_is_not_logged_where_rows_hold_the_one_or_the_other() -> None:
    nan = math.nan
    rows = [HistoryPoint(10 * i, 2.0 / i, nan) for i in range(1, 6)] + [HistoryPoint(50, nan, 1.5)]
    assert judge(rows).verdict == "too_short"
    assert judge([HistoryPoint(10 * i, 2.0 / i, nan) for i in range(1, 6)]).verdict == "diverged"


def test_losses_that_are_never_a_number_are_a_divergence() -> None:
    verdict = judge([HistoryPoint(i, math.nan, math.nan) for i in (10, 20, 30)])
    assert (verdict.verdict, verdict.rule) == ("diverged", "The eval loss at step 10 is not a finite number.")
    assert judge([HistoryPoint(i, math.nan, 2.5) for i in range(8)]).verdict == "underfit"


@pytest.mark.parametrize("evals", [(0.0,) * 6, (2.0, 1.0, 0.0, 0.0, 0.0, 0.0), (2.0, 1.0, 0.0, 0.0, 1.0, 1.5)])
def test_losses_of_nought_are_numbers_like_others(evals: tuple[float, ...]) -> None:
    for train in (evals, (0.0, 0.0, 0.0, 0.0, 1.0, 2.0)):
        verdict = judge(points(train, evals))
        assert verdict.verdict in VERDICTS and verdict.rule
    assert judge(points((0.0,) * 6, (0.0,) * 6)).verdict == "good"


@pytest.mark.parametrize(
    ("evals", "sentence"),
    [
        ((0.0,) * 5, "The eval loss ends at 0.0000, its lowest, and is level"),  # it was -100.0% above it
        ((2.0,) * 5, "The eval loss ends at 2.0000, its lowest, and is level"),
        ((1.0, 0.5, 0.0, 0.0, 0.3, 0.5, 0.6), "at step 70, 0.6000 above it, over 3 evaluations"),  # inf%
        ((-2.6, -3.0, -2.8, -2.6, -2.4), "at step 50, 20.0% above it, over 3 evaluations"),  # -20.0%
    ],
)
def test_how_far_a_loss_is_above_its_lowest_is_right_for_every_lowest(evals: tuple[float, ...], sentence: str) -> None:
    assert sentence in judge(points(tuple(3.0 - i / 4 for i in range(len(evals))), evals)).rule


def test_a_loss_of_nought_has_nowhere_left_to_fall() -> None:
    for evals in ((3.0, 1.0, 1.0, 0.0, 0.0), (3.0, 2.0, 1.5, 1.0, 0.0, 0.0), (1.0, 1.0, 1.0, 0.0, 0.0)):
        verdict = judge(points(tuple(2.0 - i / 9 for i in range(len(evals))), evals))
        assert (verdict.verdict, "inf%" in verdict.rule) == ("good", False), verdict.rule  # underfit, "by inf%"


def test_a_loss_whose_square_is_no_number_is_a_divergence() -> None:
    verdict = judge(points((3.0, 2.0, 1.0, 0.9, 0.8), (1e308, 1e307, 1e300, 1e301, 1e300)))
    assert (verdict.verdict, verdict.rule) == ("diverged", "The eval loss at step 10 is not a finite number.")


def test_eval_losses_alone_are_enough_to_see_overfitting_and_divergence() -> None:
    alone = [HistoryPoint(p.step, None, p.eval_loss) for p in points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL)]
    assert judge(alone).verdict == "overfit"
    rising = [HistoryPoint(i, None, loss) for i, loss in enumerate([3.0, 2.0, 1.8, 4.0, 6.0, 9.0])]
    assert judge(rising).verdict == "diverged"


def test_one_evaluation_after_the_valley_must_rise_three_times_as_far() -> None:
    def judged_with(last: float) -> str:
        evals = [3.0, 2.2, 1.9, 1.8, last]
        return judge([HistoryPoint(10 * i, 3.0 / i, loss) for i, loss in enumerate(evals, start=1)]).verdict

    assert (judged_with(1.85), judged_with(2.1)) == ("good", "overfit")


def test_losses_that_never_moved_are_underfit() -> None:
    flat = [HistoryPoint(10 * i, 2.5, 2.6) for i in range(8)]
    assert (judge(flat).verdict, judge(flat).rule) == (
        "underfit", "The losses hardly moved: eval loss went from 2.6000 to 2.6000.",
    )  # fmt: skip


def word(train: Sequence[float | None], evals: Sequence[float | None], every: int = 10) -> str:
    """Return the verdict on losses logged side by side."""
    lines = zip_longest(train, evals)
    return judge([HistoryPoint(every * i, t, e) for i, (t, e) in enumerate(lines, start=1)]).verdict


HEART = [2.0, 1.0, 0.3, 0.05, 0.002, 0.0004, 0.0002, 0.0004, 0.0004, 0.0004]  # rows learnt by heart, rounded


@pytest.mark.parametrize(
    ("train", "evals", "expected"),
    [
        (HEART, [], "too_short"),  # 2.0 times its best, in roundings
        (HEART, [1.5, 1.2, 1.1, 1.3, 1.5, 1.7, 1.8, 1.9, 1.95, 2.0], "overfit"),
        ([0.31, 0.0152, 0.0147, 0.0145, 0.0, 0.0, 0.0], [], "diverged"),  # a NaN that was logged as 0
        ([0.0, 0.0, 0.0], [], "diverged"),
        ([2.0, 0.5, 0.01, 0.0003, 0.0001, 0.0], [], "too_short"),  # learnt by heart down to 0
        ([2.0, 1.5, 1.2], [math.nan, math.nan, math.nan], "diverged"),
        ([2.0, 1.5, 1.2, 1.1, 1.0], [None, None, 1.6, 1.5, math.nan], "diverged"),
        ([2.0, 1.5, 1.2, 1.0, 0.9], [math.nan, math.nan, math.nan, math.nan, 1.5], "too_short"),  # not logged yet
        ([0.30, 0.15, 0.05], [0.255, 0.288, 0.375], "overfit"),  # one an epoch
        ([0.30, 0.15], [0.53, 0.61], "overfit"),
        ([0.30, 0.15, 0.05], [0.262, 0.2212, 0.2159], "too_short"),
        ([0.30, 0.35, 0.42], [0.255, 0.288, 0.375], "too_short"),  # the train loss rises with it
        ([], [0.3631, 0.3454, 0.3361, 0.3398, 0.3463, 0.3488, 0.3482, 0.3469], "overfit"),  # a rise that levels off
        ([], [2.14, 1.63, 1.36, 1.21, 1.137, 1.107, 1.099, 1.098], "good"),  # the flat end of a cosine schedule
        ([], [0.507, 0.189, 0.1448, 0.1509, 0.1498], "good"),  # a rise that is little beside the fall
    ],
)
def test_a_kind_of_history_that_people_have_gets_its_verdict(
    train: list[float | None], evals: list[float | None], expected: str
) -> None:
    assert word(train, evals) == expected


def test_sums_over_accumulated_batches_and_dropout_are_no_leak_and_a_ratio_that_shrinks_is_one() -> None:
    falling = [1.0 + math.exp(-i / 3) for i in range(12)]

    def remarks(train: Sequence[float], evals: Sequence[float]) -> list[str]:
        pairs = zip(train, evals, strict=True)
        return [remark.name for remark in judge([HistoryPoint(i, *p) for i, p in enumerate(pairs, start=1)]).remarks]

    assert remarks([16 * x for x in falling], falling) == []
    assert remarks([1.5 * x for x in falling], falling) == []
    assert remarks(falling, [x * (1 - 0.05 * i) for i, x in enumerate(falling)]) == ["leaking"]


def test_spiky_batches_are_a_remark_beside_the_verdict_on_a_smooth_eval_curve() -> None:
    jagged = tuple(x * (1.4 if i % 2 else 0.7) for i, x in enumerate(FALLING))
    verdict = judge(points(jagged, FALLING))
    assert (verdict.verdict, [remark.name for remark in verdict.remarks]) == ("good", ["noisy_batches"])
    swinging = judge(points(FALLING, jagged))
    assert "unstable" in [remark.name for remark in swinging.remarks]
    assert {remark.name for remark in (*verdict.remarks, *swinging.remarks)} <= set(REMARKS)


def test_every_number_in_a_sentence_was_measured() -> None:
    evals = [2.0, 1.4, 1.1, 1.0357, 1.0245, 1.0113]
    assert judge([HistoryPoint(i, None, loss) for i, loss in enumerate(evals)]).rule.startswith(
        "The eval loss fell from 2.0000 to 1.0113, its lowest,"
    )


def test_a_run_that_still_trains_is_told_so_and_overfitting_is_told_at_once() -> None:
    training = Context(training=True)
    short = judge(points(NOTEBOOK_TRAIN[:2], NOTEBOOK_EVAL[:2]), training)
    assert (short.verdict, short.suggestion) == ("still_training", "Wait for the next evaluations.")
    assert short.rule == ("The run has not finished. So far: only 2 eval losses were measured; 4 are needed to judge.")
    assert judge(points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL), training).verdict == "overfit"


def test_a_level_curve_is_no_reason_to_keep_what_saw_three_steps_or_a_third_of_its_tokens() -> None:
    good = points(FALLING, FALLING)
    assert judge(good).suggestion == "Keep this recipe."
    assert judge(good, Context(updates=120, trained_share=1.0)).suggestion == "Keep this recipe."
    few = judge(good, Context(updates=3))
    assert (few.verdict, few.rule) == ("too_short", "Only 3 optimizer steps were taken; 10 are needed to judge.")
    assert judge(good, Context(updates=120, trained_share=0.345)).suggestion == (
        "The run saw 34% of its selection's tokens: train on all of them before you keep it."
    )


def test_the_best_checkpoint_evaluated_again_at_the_end_hides_no_overfitting() -> None:
    whole = points(NOTEBOOK_TRAIN, NOTEBOOK_EVAL)
    assert judge([*whole, HistoryPoint(100, None, min(NOTEBOOK_EVAL))]) == judge(whole)


def test_100_000_evaluations_and_as_many_restarts_are_judged_in_linear_time() -> None:
    evals = 2 + np.exp(-np.linspace(0, 8, 100_000)) + np.random.default_rng(0).normal(0, 0.01, 100_000)
    assert judge([HistoryPoint(i, None, loss) for i, loss in enumerate(evals.tolist())]).verdict == "good"
    steps = [step for i in range(50_000) for step in (i, i + 1)]
    assert judge([HistoryPoint(step, None, 2.0) for step in steps]).evidence["n_evals"] == 50_000


@pytest.fixture(scope="module")
def real_histories() -> list[dict[str, Any]]:
    path = SHARED / "histories" / "real.jsonl"
    if not path.is_file():
        pytest.skip(f"REAL HISTORIES ARE ABSENT: {path}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_real_histories_with_a_sure_label_get_it_and_their_onset(real_histories: list[dict[str, Any]]) -> None:
    sure = [h for h in real_histories if h["confidence"] == "high"]
    verdicts = [judge(points_of(h["history"])) for h in sure]
    assert sum(v.verdict == h["label"] for h, v in zip(sure, verdicts, strict=True)) >= 0.9 * len(sure)
    for history, verdict in zip(sure, verdicts, strict=True):
        if history["label"] == verdict.verdict == "overfit":
            steps = [p["step"] for p in history["history"] if p.get("eval_loss") is not None]
            nearest = [abs(step - history["onset"]) for step in steps]
            assert abs(steps.index(verdict.onset_step) - nearest.index(min(nearest))) <= 1, history["id"]


def test_no_real_history_is_called_unstable_or_leaking_where_its_reader_did_not(
    real_histories: list[dict[str, Any]],
) -> None:
    words_of = {h["id"]: said(judge(points_of(h["history"]))) for h in real_histories if h["label"] != "unstable"}
    assert [name for name, words in words_of.items() if words & {"unstable", "leaking"}] == []
