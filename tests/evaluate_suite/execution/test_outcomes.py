"""What running an answer shows: whether it passes as written, cut at its end, and as a script."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluate_suite.execution import outcomes as module
from evaluate_suite.execution.backends import BACKENDS
from evaluate_suite.execution.outcomes import run_answers
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import METRICS, ExecutionOutcome, MetricContext, apply
from evaluate_suite.tasks.task_files import read_tasks

from .test_attacks import usable_mode
from .test_tasks import HUMAN_EVAL, MBPP, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")
RIGHT = "def add(a, b):\n    return a + b\n"
CASES = [
    ("T/0", "a continuation", "    return a + b\n", ExecutionOutcome(True, True, True, "passed")),
    ("T/0", "a continuation that goes on with another task", "    return a + b\n\nNow write another (\n",
     ExecutionOutcome(False, True, False, "exception")),
    ("T/0", "a continuation with tests of its own that fail", "    return a + b\n\nassert add(1, 1) == 3\n",
     ExecutionOutcome(False, True, False, "exception")),
    ("T/0", "a wrong continuation", "    return a - b\n", ExecutionOutcome(False, False, True, "wrong_answer")),
    ("T/0", "a fenced answer", f"Sure:\n```python\n{RIGHT}```\nThis adds.", ExecutionOutcome(True, True, True, "passed")),
    ("1", "bare code", RIGHT, ExecutionOutcome(True, True, True, "passed")),
    ("1", "one line", "def add(a, b): return a + b", ExecutionOutcome(True, True, True, "passed")),
    ("1", "bare code, then words", RIGHT + "\nThis function adds the two numbers and gives the result back.\n",
     ExecutionOutcome(False, True, False, "exception")),
    ("1", "words", "I would add them up.", ExecutionOutcome(False, False, None, "no_code")),
    ("1", "nothing", "", ExecutionOutcome(False, False, None, "no_code")),
]  # fmt: skip


@pytest.fixture
def tasks(tmp_path: Path) -> dict[str, Any]:
    return read_tasks(write(tmp_path / "tasks.jsonl", HUMAN_EVAL, MBPP))


@pytest.mark.parametrize(("task_id", "name", "text", "expected"), CASES, ids=[c[1] for c in CASES])
def test_an_answer_shows(
    task_id: str, name: str, text: str, expected: ExecutionOutcome, tasks: Any, tmp_path: Path
) -> None:
    generation = Generation(task_id, tasks[task_id].prompt, text, language="python")
    found = run_answers(tasks, [generation], usable_mode(), tmp_path / "results.jsonl")
    assert found == {(task_id, 0): expected}
    context = MetricContext(outcomes=found)
    gap = apply(METRICS["stop_gap"], generation, context).value
    assert gap == float(bool(expected.passed_when_cut)) - float(bool(expected.passed))
    assert apply(METRICS["passes_tests"], generation, context).value == float(bool(expected.passed))
    runs = apply(METRICS["runs"], generation, context)
    assert (runs.value, runs.reason) == ((None, "no_code") if expected.runs is None else (float(expected.runs), None))


def test_equal_programs_run_once_and_results_are_kept(tasks: Any, tmp_path: Path, monkeypatch: Any) -> None:
    ran: list[str] = []
    real = BACKENDS[usable_mode()]
    counting = replace(real, run=lambda job, limits: ran.append(job.kind) or real.run(job, limits))
    monkeypatch.setattr(module, "BACKENDS", {"counting": counting})
    answers = [Generation("T/0", HUMAN_EVAL["prompt"], "    return a + b\n", sample=n) for n in range(3)]
    kept = tmp_path / "results.jsonl"
    first = run_answers(tasks, answers, "counting", kept)
    assert sorted(ran) == ["run", "test"]
    with kept.open("a") as file:
        file.write('{"program_digest": "torn')
    assert run_answers(tasks, answers, "counting", kept) == first
    assert len(ran) == 2
    assert len([json.loads(line) for line in kept.read_text().splitlines()]) == 2
