"""Random's further sizes where none are named: about the studied one, as far as the pool reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.config import SelectConfig
from curate.errors import UsageError, UserError
from evaluate_suite.study.budgets import budgets_about, with_random_budgets
from evaluate_suite.study.plan_file import read_study_file
from evaluate_suite.study.request import StudyRequest
from evaluate_suite.study.variants import selection_of
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


@pytest.mark.parametrize(
    ("written", "budgets"),
    [("none", ()), ("[]", ()), ("null", None), ("500", (500,)), ("250,500", (250, 500)), ("[250, 500]", (250, 500))],
)
def test_a_study_file_takes_what_the_option_takes(
    written: str, budgets: tuple[int, ...] | None, tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(f"strategies: [random, kmeans]\nrandom_budgets: {written}\n")
    assert read_study_file(tmp_path / "study.yaml").random_budgets == budgets


@pytest.mark.parametrize(
    ("setting", "value", "taken"),
    [
        ("clean", "none", ()),
        ("clean", "parse,empty", ("empty", "parse")),
        ("clean", "[parse]", ("parse",)),
        ("decontaminate", "humaneval", ("humaneval",)),
        ("cap", "source=0.5", ("source=0.5",)),
        ("pick_where", "source=a,b", ("source=a,b",)),
        ("keep_where", "[license=mit, source=a]", ("license=mit", "source=a")),
    ],
)
def test_a_selections_settings_in_a_study_file_are_what_the_options_take(
    setting: str, value: str, taken: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"strategies: [random]\nselection:\n  {setting}: {value}\n")
    assert getattr(selection_of(read_study_file(path).selection, "selection"), setting) == taken


def test_a_check_that_is_none_is_named_in_a_study_file_too() -> None:
    with pytest.raises(UsageError, match='selection: Unknown check "pars" in --clean'):
        selection_of({"clean": "empty,pars"}, "selection")


def test_sizes_that_are_none_are_told_with_the_file_and_the_field(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("strategies: [random, kmeans]\nrandom_budgets: few\n")
    said = r"study\.yaml is not a study \(random_budgets: Value error, Write whole numbers with commas: 250,500,2000\)"
    with pytest.raises(UserError, match=said):
        read_study_file(tmp_path / "study.yaml")


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
