"""`evalsuite report --execute`: pass@1 and the stop gap of every model, off unless asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluate_suite.cli import main as evalsuite
from evaluate_suite.metrics import METRICS
from tests.evaluate_suite.execution.test_attacks import usable_mode
from tests.evaluate_suite.execution.test_tasks import HUMAN_EVAL, MBPP, write
from tests.evaluate_suite.reporting.test_report import home, made, report  # noqa: F401
from tests.finetune.conftest import made_selection, tiny_model  # noqa: F401
from tests.test_extensions import install

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
ANSWERS = {"base": ["    return a - b\n", ""], "run": ["    return a + b\n\nNow I (\n", "def add(a, b): return a + b"]}


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Chosen answers to the tasks: the base model is wrong, the runs are right, once without stopping."""
    from evaluate_suite.generation.record import Generation
    from evaluate_suite.reporting.models import ReportModels

    asked: list[str] = []
    real = ReportModels.generations

    def generations(self: Any, run: Any, selection: Any, prompts: Any, settings: Any, tuned: bool) -> Any:
        if prompts[0].prompt_id != "T/0":
            return real(self, run, selection, prompts, settings, tuned)
        asked.append(run.path.name if tuned else "base")
        texts = ANSWERS["run" if tuned else "base"]
        return [Generation(p.prompt_id, p.prompt, t, language=p.language) for p, t in zip(prompts, texts, strict=True)]

    monkeypatch.setattr(ReportModels, "generations", generations)
    return asked


def test_pass_at_1_and_stop_gap_are_in_record_page_and_lines(
    home: Path,
    answering: list[str],
    tmp_path: Path,
) -> None:
    usable_mode()
    tasks = write(tmp_path / "tasks.jsonl", HUMAN_EVAL, MBPP)
    assert report(home, "--execute", "--tasks", str(tasks), "--out", str(tmp_path / "r")) == 0
    assert answering == ["base", "run-0", "run-1"]
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    base, run = record["base_metrics"], record["runs"][0]["metrics"]
    assert [(m["passes_tests"]["value"], m["stop_gap"]["value"], m["passes_tests"]["n"]) for m in (base, run)] == [
        (0.0, 0.0, 2), (0.5, 0.5, 2),
    ]  # fmt: skip
    assert (base["runs"]["value"], base["runs"]["unscored"], base["runs"]["n"]) == (1.0, 1, 1)
    pairs = [p for p in record["pairs"] if p["measure"] == "passes_tests"]
    assert {(p["first"], p["second"]) for p in pairs} == {("base", "run-0"), ("base", "run-1"), ("run-0", "run-1")}
    assert [p["effect"] for p in pairs if p["first"] == "base"] == [0.5, 0.5]
    lines = [json.loads(line) for line in (tmp_path / "r" / "executions.jsonl").read_text().splitlines()]
    assert [(line["task_id"], line["model"], line["passed"], line["passed_when_cut"]) for line in lines[:2]] == [
        ("T/0", "base", False, False), ("T/0", "run-0", False, True),
    ]  # fmt: skip
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["counts"]["tasks"] == 2
    assert "executions.jsonl" in [output["file"] for output in manifest["outputs"]]
    page = (tmp_path / "r" / "index.html").read_text()
    assert "Passes tests" in page
    assert "Over the 2 raw prompts, greedy; what needs execution, over the tasks." in page
    assert "Stop gap" in page
    assert f"--tasks {tasks} --execute" in page


def test_a_report_without_execute_runs_nothing_and_is_another_report(
    home: Path,
    answering: list[str],
    tmp_path: Path,
    capsys: Any,
) -> None:
    usable_mode()
    assert report(home, "--out", str(tmp_path / "r")) == 0
    assert answering == []
    assert "passes_tests" not in (tmp_path / "r" / "report.json").read_text()
    tasks = write(tmp_path / "tasks.jsonl", HUMAN_EVAL, MBPP)
    assert report(home, "--execute", "--tasks", str(tasks), "--out", str(tmp_path / "r")) == 1
    assert "holds another report" in capsys.readouterr().err


ADDED_METRIC = """
from evaluate_suite.metrics.types import Metric, Score

def score(generation, outcome):
    return Score(float(outcome.reason == "passed"))

METRIC = Metric("said_passed", "said passed", "Did the sandbox say passed?", score, needs="execution")
"""


def test_a_metric_of_another_package_that_needs_execution_is_in_help_record_and_page(
    home: Path,
    answering: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usable_mode()
    install(tmp_path / "site", "rowpick-said", "said", ADDED_METRIC, "rowpick.metrics", "said_passed = said:METRIC")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(METRICS.__dict__, "added", raising=False)  # read once a process
    try:
        assert evalsuite(["metrics"]) == 0
        assert "said_passed          from the package rowpick-said" in capsys.readouterr().out
        tasks = write(tmp_path / "tasks.jsonl", HUMAN_EVAL, MBPP)
        assert report(home, "--execute", "--tasks", str(tasks), "--out", str(tmp_path / "r")) == 0
    finally:
        METRICS.__dict__.pop("added")
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    assert record["runs"][0]["metrics"]["said_passed"]["value"] == 0.5
    assert "Said passed" in (tmp_path / "r" / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"), [(["--execute"], "--execute needs the tasks"), (["--tasks", "x"], "Add --execute")]
)
def test_half_of_the_two_options_is_a_usage_error(home: Path, options: list[str], words: str, capsys: Any) -> None:
    assert evalsuite(["report", *options]) == 2
    assert words in capsys.readouterr().err


def test_bad_tasks_stop_the_report_before_any_work(
    home: Path, answering: list[str], tmp_path: Path, capsys: Any
) -> None:
    bad = write(tmp_path / "tasks.jsonl", {**HUMAN_EVAL, "test": "METADATA = {}"})
    assert report(home, "--execute", "--tasks", str(bad), "--out", str(tmp_path / "r")) == 1
    assert "the test defines nothing that could pass or fail" in " ".join(capsys.readouterr().err.split())
    assert answering == []
