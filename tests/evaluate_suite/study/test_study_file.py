"""What a study file says, and what is refused of it before anything is drawn or trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.errors import UserError
from evaluate_suite.config import StudyConfig
from evaluate_suite.statistics.power import smallest_shown
from evaluate_suite.study.plan import plan_lines, plan_study
from evaluate_suite.study.recipe import study
from evaluate_suite.study.request import build_request


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("strategies: [random]\nselection: {seed: 3}", "selection sets seed, which a study varies."),
        ("strategies: [random]\nselection: {strategy: kmeans}", "Name it in strategies."),
        ("strategies: [random]\ntraining: {seed: 3}", "training sets seed, which a study varies."),
        ("strategies: [random]\nselection: {k: 20, token_budget: 500}", "selection has both k and token_budget."),
        ("strategies: [random]\nselection: {kk: 20}", 'selection: kk is not a setting. Did you mean "k"?'),
        ("strategies: random", "strategies is random; write a list: [random]"),
        ("strategies: [random]\ndraws: yes", "draws: Input should be a valid integer"),
        ("", "is not a study: it has no fields. Fields: strategies,"),
        ("- random", "is not a study: it has no fields."),
    ],
)
def test_what_a_study_file_would_lose_in_silence_or_in_jargon_is_said(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as error:
        build_request(StudyConfig(file=file)).check()
    assert sentence in str(error.value)


def test_options_that_a_study_file_leaves_no_room_for_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("strategies: [random]\n")
    with pytest.raises(UserError, match="--draws 5 and --file are both given."):
        build_request(StudyConfig(file=file, draws=5))
    assert build_request(StudyConfig(file=file, out=tmp_path, wandb="offline", workers="2")).draws == 3


def test_seeds_are_no_draws_where_it_is_said_what_a_plan_can_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "home"))
    plans = []
    for draws, seeds in ((3, 1), (3, 2), (1, 3)):
        file = tmp_path / "study.yaml"
        file.write_text(f"strategies: [random, kmeans]\nrandom_budgets: none\ndraws: {draws}\nseeds: {seeds}\n")
        plans.append(plan_study(build_request(StudyConfig(file=file))))
    assert plans[0].smallest_shown == plans[1].smallest_shown == plans[2].smallest_shown == smallest_shown([3, 3])
    assert "times the spread between training seeds" in " ".join(plan_lines(plans[2]))


def test_a_target_that_is_not_there_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("evaluate_suite.study.recipe.make_selections", lambda *_: pytest.fail("rows were drawn"))
    file = tmp_path / "study.yaml"
    file.write_text("strategies: [random, target-words]\nrandom_budgets: none\ntargets: [nowhere.jsonl]\n")
    with pytest.raises(UserError, match="nowhere.jsonl"):
        study(build_request(StudyConfig(file=file)))


def test_a_target_of_conversations_is_read_as_the_studys_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate("abcd")]
    (tmp_path / "talks.jsonl").write_text(json.dumps({"messages": turns}))

    def drawn(*_: object) -> None:
        raise RuntimeError("rows are drawn")

    monkeypatch.setattr("evaluate_suite.study.recipe.make_selections", drawn)
    file = tmp_path / "study.yaml"
    file.write_text(
        "strategies: [target-words]\nrandom_budgets: none\ntargets: [talks.jsonl]\nselection: {turns: last}\n"
    )
    with pytest.raises(RuntimeError, match="rows are drawn"):
        study(build_request(StudyConfig(file=file)))
