"""`finetune padding-study`: six arms on the same rows, and answers computed from their figures."""

from __future__ import annotations

import html
import json
import shlex
from pathlib import Path

import pytest

from curate.artifact import read_manifest
from curate.errors import UserError
from curate.selection.record import read_selection
from finetune.cli import main
from finetune.commands import PaddingStudyCommand
from finetune.config import RunConfig, load_config
from finetune.padding_study.page import render_page
from finetune.padding_study.recipe import answers, require_learning, study
from finetune.padding_study.record import Arm, PaddingStudyRecord, read_padding_study
from finetune.run.record import Run
from tests.finetune.conftest import QUICK
from tests.finetune.run.test_resume import interrupt_at


@pytest.mark.long
def test_the_padding_study_trains_six_arms_on_the_same_rows(
    made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*(s for s in QUICK if not s.startswith("max_steps")), "eval_steps=20"]
    arguments = ["padding-study", "--selection", str(made_selection), "--rows", "24", "--out", str(tmp_path / "s")]
    assert main([*arguments, "--json", *settings]) == 0
    arms = json.loads(capsys.readouterr().out)["arms"]
    assert [arm["name"] for arm in arms[::2]] == ["packed", "right padding", "length-grouped"]
    assert len({arm["tokens"] for arm in arms}) == 1
    for first, second in zip(arms[::2], arms[1::2], strict=True):
        assert first["pad_token"] != second["pad_token"]
        assert first["eval_loss"] == second["eval_loss"]
        assert first["padding_share"] == second["padding_share"]
    packed, padded, grouped = arms[::2]
    assert packed["padding_share"] < 1e-9 or packed["padding_share"] < padded["padding_share"]
    assert grouped["padding_share"] < padded["padding_share"]
    assert packed["interval"] is None
    assert padded["interval"][0] <= padded["loss_difference"] <= padded["interval"][1]
    record = read_padding_study(tmp_path / "s")
    assert [arm.model_dump(mode="json") for arm in record.arms] == arms
    assert [sentence.split(":")[0] for sentence in record.answers] == [
        "Time", "Time", "Outcome", "Outcome", "Pad token", "How far to trust the times",
    ]  # fmt: skip
    page = (tmp_path / "s" / "index.html").read_text()
    assert all(sentence.split(",")[0] in page for sentence in record.answers[:4])
    assert 'href="s/index.html"' in (tmp_path / "index.html").read_text()
    made = read_manifest(tmp_path / "s", "finetune.padding_study").created_at
    assert main([*arguments, "--json", *settings]) == 0  # the same study again is reused, page and arms
    assert read_manifest(tmp_path / "s", "finetune.padding_study").created_at == made


def arm(name: str, pad: str, seconds: float, loss: float, interval: tuple[float, float] | None) -> Arm:
    difference = None if interval is None else sum(interval) / 2
    return Arm(
        name=name, pad_token=pad, steps=4, tokens=1000, padding_share=0.25, train_seconds=seconds,
        tokens_per_second=100.0, eval_loss=loss, base_loss=3.0, loss_difference=difference, interval=interval,
    )  # fmt: skip


def test_the_answers_say_what_the_figures_say() -> None:
    arms = [
        arm("packed", "<unk>", 10, 2.0, None), arm("packed", "x", 11, 2.0, (0, 0)),
        arm("right padding", "<unk>", 25, 2.1, (0.05, 0.15)), arm("right padding", "x", 25, 2.1, (0.05, 0.15)),
        arm("length-grouped", "<unk>", 5, 2.0, (-0.01, 0.03)), arm("length-grouped", "x", 5, 2.2, (0.1, 0.3)),
    ]  # fmt: skip
    assert answers(arms) == [
        "Time: right padding, with 25.0% padding, took 25 s, 2.50 times as long as packed (10 s, 25.0% padding).",
        "Time: length-grouped, with 25.0% padding, took 5 s, 1/2.00 as long as packed (10 s, 25.0% padding).",
        "Outcome: the eval loss of right padding differs from packed by +0.1000 nats a token [+0.0500, +0.1500].",
        "Outcome: no difference shown between length-grouped and packed, +0.0100 nats a token [-0.0100, +0.0300]; "
        "a difference below 0.0200 could not have been seen.",
        "Pad token: it changed the eval loss of length-grouped.",
        "How far to trust the times: the same work, timed with either pad token, differs by up to 9%.",
    ]


def test_a_difference_that_rounds_to_nothing_has_no_minus_sign() -> None:
    told = answers([arm("packed", "<unk>", 10, 2.0, None), arm("right padding", "<unk>", 9, 2.0, (-2e-5, 1e-5))])
    assert "+0.0000 nats a token [+0.0000, +0.0000]" in told[1]


def test_a_study_whose_arms_take_few_steps_or_learn_nothing_is_refused(
    made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [s for s in QUICK if not s.startswith("max_steps")]
    arguments = ["padding-study", "--selection", str(made_selection), "--out", str(tmp_path / "s"), *settings]
    assert main([*arguments, "--rows", "2"]) == 1
    assert "2 rows make 1 step(s) in the arm with packed; a time or an outcome takes at least 3" in (
        capsys.readouterr().err
    )
    assert main([*arguments, "gradient_accumulation_steps=32"]) == 1
    assert "Use a selection of 120 rows, or smaller batches." in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
    idle = [arm("packed", "<unk>", 10, 2.9995, None), arm("packed", "x", 10, 2.5, (0, 0))]
    with pytest.raises(UserError, match=r"1 of 2 arms did not learn: their eval losses are 2\.9995 or more, and"):
        require_learning(idle)


def test_a_study_of_fewer_rows_than_were_asked_for_is_of_those(
    made_selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    studied: list[int] = []

    def study(config: object, selection: object, rows: int, command: object) -> list[Arm]:
        studied.append(rows)
        raise UserError("Enough.")

    monkeypatch.setattr("finetune.padding_study.recipe.study", study)
    command = ["padding-study", "--selection", str(made_selection), "--out", str(tmp_path / "s"), *QUICK]
    assert main(command) == main([*command, "--rows", "40"]) == main([*command, "--rows", "24"]) == 1
    assert studied == [40, 40, 24]
    assert capsys.readouterr().err.count("The selection has 40 rows, fewer than --rows 64: the study is of these.") == 1


def test_an_arm_that_was_stopped_goes_on_with_the_study_alone_and_on_the_studys_rows(
    made_selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`finetune run --resume` would read the whole selection: other rows, more steps, and the study would take it."""
    selection = read_selection(made_selection)
    settings = load_config(None, None, [s for s in QUICK if "max_steps" not in s], selection.manifest.config["model"])
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path))
    steps: list[list[int]] = []
    monkeypatch.setattr("finetune.padding_study.recipe.pad_tokens", lambda *_: ["<|endoftext|>"])

    def compare_arms(measured: list[tuple[str, str, Run]], *_: object) -> list[Arm]:
        steps.append([run.history[-1]["step"] for _, _, run in measured])
        return []

    monkeypatch.setattr("finetune.padding_study.recipe.compare_arms", compare_arms)
    with monkeypatch.context() as patched:
        interrupt_at(3, patched)
        with pytest.raises(KeyboardInterrupt):
            study(settings, selection, 20)
    assert "go on with: the same command" in capsys.readouterr().err
    (arm,) = (tmp_path / "padding-study").glob("*/packed-0")
    assert main(["run", "--resume", str(arm), "--track", "none"]) == 1
    assert f"{made_selection.resolve()} is not the selection that {arm} was started with" in capsys.readouterr().err
    study(settings, selection, 20)
    assert "Going on from step 3." in capsys.readouterr().err
    assert steps == [[4, 4, 4]]


def test_settings_that_the_study_sets_itself_are_said_and_reach_no_arm(
    made_selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """group_by_length did reach an arm: right padding was length-grouped too."""
    trained: list[RunConfig] = []

    def train(arm: RunConfig, *_: object) -> None:
        trained.append(arm)
        if len(trained) == 6:
            raise UserError("Enough.")

    monkeypatch.setattr("finetune.padding_study.recipe.train", train)
    command = ["padding-study", "--selection", str(made_selection), "--out", str(tmp_path / "s"), *QUICK]
    assert main([*command, "group_by_length=true"]) == 1
    assert "not used: max_steps=6, group_by_length=True." in capsys.readouterr().err
    assert [(arm.packing, arm.group_by_length, arm.max_steps) for arm in trained[::2]] == [
        ("best-fit", False, None), ("none", False, None), ("none", True, None),
    ]  # fmt: skip


def test_the_copied_command_keeps_every_override(made_selection: Path) -> None:
    selection = read_selection(made_selection)
    model = selection.manifest.config["model"]
    config = load_config(None, overrides=[*QUICK, "eval_rows=null"], model=model)
    arms = [arm("packed", "<unk>", 10, 2.0, None), arm("right padding", "<unk>", 25, 2.1, (0.05, 0.15))]
    record = PaddingStudyRecord(arms=arms, answers=answers(arms))
    page = html.unescape(render_page("s", record, config, selection, 24))
    command = next(line for line in page.replace("<", "\n").splitlines() if "finetune padding-study --" in line)
    words = shlex.split(command[command.index("finetune padding-study") :])
    assert words[:6] == ["finetune", "padding-study", "--selection", str(made_selection), "--rows", "24"]
    assert PaddingStudyCommand(overrides=tuple(words[6:])).settings(model) == config
