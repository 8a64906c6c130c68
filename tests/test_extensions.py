"""Another package adds to a table by an entry point: it is listed without being loaded, and used like our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STRATEGY = """
import numpy as np
from curate.strategies.table import Strategy
from curate.strategies.types import Picks

def last(candidates, k, rng):
    chosen = candidates.open()[::-1][:k]
    return Picks(np.sort(chosen), ["from the end"] * len(chosen))

STRATEGY = Strategy(lambda: last, "the last k rows by row id", "a test")
"""


def install(site: Path, name: str, module: str, source: str, group: str, entry: str) -> None:
    """Put a package into a folder as pip would: a module, and the metadata that names its entry point."""
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(source)
    metadata = site / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


def run(site: Path, home: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "ROWPICK_HOME": str(home)}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=home.parent, env=environment, capture_output=True, text=True)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path / "site", "rowpick-last", "last_rows", STRATEGY, "rowpick.strategies", "last = last_rows:STRATEGY")
    return tmp_path / "site"


@pytest.mark.long
def test_a_strategy_of_another_package_is_listed_and_picks(site: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"instruction": f"Say {n}", "output": f"print({n})"}) + "\n" for n in range(40))
    )
    listed = run(site, tmp_path / "home", "curate.cli", "strategies")
    assert listed.stdout.splitlines()[-1] == "last                 from the package rowpick-last"
    asked = ("--dataset", "rows.jsonl", "--model", "smollm2-135m", "--encoder", "tfidf", "--near-duplicate", "1")
    made = run(site, tmp_path / "home", "curate.cli", "select", *asked, "--strategy", "last", "--k", "5", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["counts"]["selected"] == 5


@pytest.mark.long
def test_help_names_a_package_whose_module_cannot_be_imported_and_using_it_says_whose_it_is(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "rowpick-broken", "broken", "1 / 0", "rowpick.strategies", "broken = broken:STRATEGY")
    listed = run(site, tmp_path / "home", "curate.cli", "strategies")
    assert (listed.returncode, "broken" in listed.stdout) == (0, True)
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    used = run(site, tmp_path / "home", "curate.cli", "select", "--dataset", "rows.jsonl", "--strategy", "broken")
    assert used.returncode == 1
    assert used.stderr == (
        'error: "broken" of rowpick.strategies, from the package rowpick-broken, could not be loaded '
        "(division by zero). Fix rowpick-broken, or uninstall it.\n"
    )


def test_a_package_may_not_take_a_name_of_ours(tmp_path: Path) -> None:
    install(tmp_path / "site", "rowpick-copy", "copied", STRATEGY, "rowpick.strategies", "random = copied:STRATEGY")
    listed = run(tmp_path / "site", tmp_path / "home", "curate.cli", "strategies")
    assert listed.returncode == 1
    assert 'The package rowpick-copy adds "random" to rowpick.strategies, a name that is taken.' in listed.stderr


BACKEND = """
from evaluate_suite.execution.backends import Backend
from evaluate_suite.execution.sandbox import ProgramResult

def run(job, limits):
    return ProgramResult("42" in job.program, "read", f"{len(job.program)} characters, {limits.cpu_seconds} s")

PAPER = Backend(run, "reads the program and runs nothing", lambda: None)
LOOSE = Backend(run, "the same, without isolation", lambda: None, isolates=False)
"""


@pytest.mark.long
def test_an_execution_backend_of_another_package_runs_the_programs(tmp_path: Path) -> None:
    site, home = tmp_path / "site", tmp_path / "home"
    entries = "paper = paper:PAPER\nloose = paper:LOOSE"
    install(site, "rowpick-paper", "paper", BACKEND, "rowpick.execution_backends", entries)
    task = {
        "task_id": "T/0",
        "prompt": "def f():\n",
        "entry_point": "f",
        "test": "def check(f):\n    assert f() == 42\n",
    }
    (tmp_path / "tasks.jsonl").write_text(json.dumps(task) + "\n")
    answers = [{"task_id": "T/0", "completion": f"    return {n}\n"} for n in (42, 41)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))

    listed = run(site, home, "evaluate_suite.cli", "backends")
    assert listed.stdout.splitlines()[-1] == "paper                from the package rowpick-paper"
    files = ("execute", "--tasks", "tasks.jsonl", "--generations", "answers.jsonl", "--out", "r.jsonl", "--execute")
    made = run(site, home, "evaluate_suite.cli", *files, "--backend", "paper", "--json")
    assert made.returncode == 0, made.stderr
    summary = json.loads(made.stdout)
    assert (summary["mode"], summary["passed"], summary["reasons"]) == ("paper", 1, {"read": 2})

    loose = run(site, home, "evaluate_suite.cli", *files, "--backend", "loose")
    assert loose.returncode == 2
    assert 'Backend "loose" isolates nothing. Say that you want that: --unsafe-local.' in loose.stderr
    unknown = run(site, home, "evaluate_suite.cli", *files, "--backend", "papr")
    assert unknown.returncode == 2
    assert '--backend does not know "papr". Did you mean "paper"?' in unknown.stderr
