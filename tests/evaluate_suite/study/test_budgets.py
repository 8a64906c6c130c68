"""Random's further sizes where none are named: about the studied one, as far as the pool reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.config import SelectConfig
from evaluate_suite.study.budgets import budgets_about, with_random_budgets
from evaluate_suite.study.request import StudyRequest
from finetune.config import RunConfig
from tests.finetune.conftest import made_selection, tiny_model  # noqa: F401


@pytest.mark.parametrize(
    ("size", "candidates", "budgets"),
    [
        (1000, 10_000, [250, 500, 2000, 4000]),
        (1000, 3_000, [250, 500, 2000, 2700]),
        (1000, 2_400, [250, 500, 2000]),  # 2,160 would say little more than 2,000
        (1000, 1_200, [250, 500]),
        (2, 100, [1, 4, 8]),
    ],
)
def test_a_quarter_half_twice_and_four_times_as_far_as_the_pool_reaches(
    size: int, candidates: int, budgets: list[int]
) -> None:
    assert budgets_about(size, candidates) == budgets


def test_they_are_chosen_where_a_strategy_is_studied_and_none_are_named(
    made_selection: Path,  # noqa: F811
    tiny_model: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = SelectConfig(dataset=str(made_selection.parent / "rows.jsonl"), model=str(tiny_model), k=20)
    recipe = RunConfig(model=str(tiny_model), device="cpu", load_in_4bit=False)
    request = StudyRequest(("random", "shortest"), base, recipe, random_budgets=None)
    assert with_random_budgets(request).random_budgets == [5, 10, 40, 80]  # of 90 that are not held out
    assert "Random is drawn at 5, 10, 40, 80 rows too." in capsys.readouterr().err
    named = StudyRequest(("random", "shortest"), base, recipe, random_budgets=(7,))
    assert with_random_budgets(named).random_budgets == (7,)
    alone = StudyRequest(("random",), base, recipe, random_budgets=None)
    assert with_random_budgets(alone).random_budgets == ()
