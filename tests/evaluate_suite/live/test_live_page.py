"""The live page of a run that trains: what it says so far, and what it is never ended by."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UserError
from evaluate_suite.live.page import answer, render_live_page
from evaluate_suite.training_curve.runs import verdicts_on

GOLDEN = Path(__file__).parents[2] / "golden"


def run_folder(folder: Path, lines: list[dict[str, Any]], torn: str = "") -> Path:
    folder.mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "history.jsonl").write_text(text + torn)
    (folder / "config.yaml").write_text("run_digest: a\nselection: none\nconfig: {max_steps: 100}\n")
    return folder


def line(step: int, train: float | str | None, evaluated: float | str | None) -> dict[str, Any]:
    return {"step": step, "train_loss": train, "eval_loss": evaluated}


def test_a_run_in_training_is_not_called_too_short_nor_good(tmp_path: Path) -> None:
    short = render_live_page(run_folder(tmp_path / "short", [line(1, 2.5, 2.25)], torn='{"step": 2, "trai'))
    assert "still training" in short and "too short" not in short
    level = [line(i, 1.0 + 2.0**-i, 1.0 + 2.0**-i) for i in range(1, 13)]
    page = render_live_page(run_folder(tmp_path / "level", level))
    assert "still training" in page and "Keep this recipe" not in page
    assert "The run has not finished. So far: the eval loss fell from 1.5000 to 1.0002" in page


def test_a_run_that_logged_nothing_yet_has_a_page(tmp_path: Path) -> None:
    assert "Nothing logged yet" in render_live_page(run_folder(tmp_path / "run", []))


@pytest.mark.parametrize("broken", ["nan", "inf", "-inf", "NaN"])
def test_a_run_that_diverges_keeps_its_page(tmp_path: Path, broken: str) -> None:
    lines = [line(1, 2.5, 2.5), line(2, 2.4, 2.4), line(3, broken, None), line(4, broken, broken)]
    folder = run_folder(tmp_path / "run", lines)
    page = render_live_page(folder)
    assert "The train loss at step 3 is not a finite number." in page
    assert not re.search(r"[:\[,]\s*-?(NaN|Infinity)\b", page)
    (verdict,) = verdicts_on(folder)[1].values()
    assert (verdict.verdict, verdict.best_step, verdict.evidence["broken_step"]) == ("diverged", 2, 3)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"step": 1, "train_loss": 2.0, "eval_loss": 2.0}, "step 1 after step 2"),
        ({"step": "x", "train_loss": 2.0, "eval_loss": 2.0}, "history.jsonl:3: step"),
        ({"step": 3, "train_loss": 2.0}, "history.jsonl:3: eval_loss"),
    ],
)
def test_a_line_that_no_run_wrote_is_named_by_the_page_and_by_the_verdict(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    folder = run_folder(tmp_path / "run", [line(1, 2.5, 2.5), line(2, 2.4, 2.4), wrong])
    status, kind, text = answer(folder, "/", "127.0.0.1:80")
    assert (status, kind) == (500, "text/plain") and said in text
    with pytest.raises(UserError, match=said):
        verdicts_on(folder)


def test_the_page_is_served_under_no_foreign_name(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", [])
    assert answer(folder, "/", "localhost:1")[0] == 200
    assert answer(folder, "/", "evil.example")[0] == answer(folder, "/x", "127.0.0.1")[0] == 404


def test_a_finished_run_whose_losses_were_edited_has_no_verdict(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(GOLDEN / "finetune.run-2", folder)
    assert verdicts_on(folder)
    history = folder / "history.jsonl"
    history.write_text(history.read_text().replace('"eval_loss": ', '"eval_loss": 1', 1))
    with pytest.raises(UserError, match=r"history.jsonl is not the file its manifest describes"):
        verdicts_on(folder)
