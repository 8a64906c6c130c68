"""Verdicts on loss histories: the published notebook run, and one planted history of every kind."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from curate.errors import UserError
from evaluate_suite.fit_signals import VERDICTS, HistoryPoint, judge, read_history

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


def test_histories_are_read_from_jsonl_csv_json_and_run_folders(tmp_path: Path) -> None:
    expected = [HistoryPoint(1, 2.5, None), HistoryPoint(2, None, 2.0)]
    rows = [{"step": 1, "train_loss": 2.5, "eval_loss": None}, {"step": 2, "train_loss": None, "eval_loss": 2.0}]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "h.csv").write_text("step,train_loss,eval_loss\n1,2.5,\n2,,2.0\n")
    (tmp_path / "h.json").write_text(json.dumps(rows))
    for name in (".", "history.jsonl", "h.csv", "h.json"):
        assert read_history(tmp_path / name) == expected
    with pytest.raises(UserError, match="no step"):
        (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
        read_history(tmp_path / "bad.csv")
    with pytest.raises(UserError, match="does not exist"):
        read_history(tmp_path / "none.csv")
