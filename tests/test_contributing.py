"""The recipes of CONTRIBUTING.md, taken as they stand from a package of somebody else's."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_extensions import ROOT, install, run

RECIPE = re.compile(r"^```python (\w+)\.py ([\w.]+) (\w+)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages, one for each recipe."""
    recipes = RECIPE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(recipes) == 7
    for module, group, name, entry in [recipe[:4] for recipe in recipes]:
        source = next(text for other, *_, text in recipes if other == module)
        install(tmp_path / "site", f"rowpick-{name}", module, source, group, f"{name} = {entry}")
    return tmp_path / "site"


@pytest.mark.long
def test_a_source_an_encoder_a_check_and_a_strategy_of_others_make_a_selection(site: Path, tmp_path: Path) -> None:
    rows = [(f"say {'word ' * n}", f"print({n})") for n in range(1, 31)] + [("SHOUT IT", "print('IT')")]
    (tmp_path / "rows.tsv").write_text("".join(f"{asked}\t{answer}\n" for asked, answer in rows))
    made = run(
        site, tmp_path / "home", "curate.cli", "select", "--dataset", "pairs:rows.tsv", "--model", "smollm2-135m",
        "--encoder", "letters", "--near-duplicate", "1", "--clean", "shouting", "--strategy", "middle", "--k", "3",
        "--holdout", "2", "--out", "out", "--json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    manifest = json.loads(made.stdout)
    assert (manifest["counts"]["selected"], manifest["counts"]["excluded.shouting"]) == (3, 1)
    assert (manifest["config"]["encoder"], manifest["config"]["source"]) == ("letters", "pairs:rows.tsv")
    lengths = [
        json.loads(line)["token_count"] for line in (tmp_path / "out" / "selected.jsonl").read_text().splitlines()
    ]
    assert max(lengths) - min(lengths) <= 3


def test_a_metric_of_others_is_listed_and_scores_a_file(site: Path, tmp_path: Path) -> None:
    answers = [
        {"prompt_id": n, "prompt": "a list", "completion": text} for n, text in enumerate(("a\n\nb\nc", "a", ""))
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    assert "line_count " in run(site, tmp_path / "home", "evaluate_suite.cli", "metrics").stdout
    scored = run(site, tmp_path / "home", "evaluate_suite.cli", "score", "answers.jsonl", "--json")
    assert scored.returncode == 0, scored.stderr
    summary = json.loads(scored.stdout)["metrics"]["line_count"]
    assert (summary["mean"], summary["n_scored"], summary["reasons"]) == (0.125, 2, {"empty": 1})


def test_an_execution_backend_of_others_judges_answers(site: Path, tmp_path: Path) -> None:
    task = {
        "task_id": "T/0",
        "prompt": "def f():\n",
        "entry_point": "f",
        "test": "def check(f):\n    assert f() == 1\n",
    }
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    (tmp_path / "answers.jsonl").write_text(json.dumps({"task_id": "T/0", "completion": "    return 2\n"}) + "\n")
    done = run(
        site, tmp_path / "home", "evaluate_suite.cli", "execute", "--tasks", "tasks.jsonl", "--generations",
        "answers.jsonl", "--out", "results.jsonl", "--execute", "--backend", "reader", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["mode"], json.loads(done.stdout)["passed"]) == ("reader", 1)


FOLLOW = """
import pathlib
from finetune.tracking.table import TRACKERS
from finetune.tracking.types import TrackedRun

session = TRACKERS["lines"].start(TrackedRun("one", "0a1b", pathlib.Path(), {}))
session.log({"train_loss": 2.5}, 10)
session.finish()
"""


def test_a_tracker_of_others_follows_a_run(site: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("finetune.tracking.table") is None:
        pytest.skip("THE TABLE OF TRACKERS IS ABSENT: no tracker can be added")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    subprocess.run([sys.executable, "-c", FOLLOW], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "lines.txt").read_text() == "10 {'train_loss': 2.5}\n"
