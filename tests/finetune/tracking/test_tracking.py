"""Trackers: only where one is asked for, what it is told, and never a question."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UserError
from finetune.cli import main
from finetune.tracking.table import NONE, TRACKERS, require_tracker, tracker_name
from finetune.tracking.types import TrackedRun
from tests.finetune.conftest import QUICK


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine where nobody has logged in."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_nothing_is_tracked_unless_it_is_asked_for_even_with_a_key(
    no_key: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert tracker_name(None, None) == "none"
    assert require_tracker(None) is NONE
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("old", "name"), [("off", "none"), ("offline", "wandb-offline"), ("online", "wandb")])
def test_what_wandb_took_before_is_still_understood_and_says_what_it_is_now(
    old: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tracker_name(None, old) == name
    assert capsys.readouterr().err == f"--wandb {old} is --track {name}.\n"


def test_wandb_without_a_key_is_refused_before_it_could_ask_for_one(
    no_key: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="wandb has no key. Run `wandb login`, or use --track wandb-offline or trackio"):
        require_tracker("wandb")
    assert require_tracker("wandb-offline") is TRACKERS["wandb-offline"]
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {'x' * 40}\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert require_tracker("wandb") is TRACKERS["wandb"]
    (tmp_path / ".netrc").unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert require_tracker("wandb") is TRACKERS["wandb"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--track", "wandbb"], '--track is "wandbb". Did you mean "wandb"?'),
        (["--wandb", "maybe"], '--wandb is "maybe".'),
        (["--track", "none", "--wandb", "off"], "--track and --wandb are both given. Give --track alone."),
    ],
)
def test_a_wrong_tracker_is_a_usage_error(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_trackio_gets_every_line_under_one_name_and_what_it_prints_stays_off_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package's own calls (`init`, `Run.log`, `Run.finish`), by a stand-in: it brings a web server along."""
    with pytest.raises(UserError, match="needs the package trackio, which is not installed. pip install trackio"):
        require_tracker("trackio")
    calls: list[Any] = []

    class Run:
        def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
            calls.append((step, metrics))

        def finish(self) -> None:
            print("* Run finished.")
            calls.append("finished")

    def init(project: str, name: str, config: dict[str, Any], resume: str, **more: Any) -> Run:
        print("* Trackio project initialized")
        calls.append((project, name, config, resume, more))
        return Run()

    module = types.ModuleType("trackio")
    module.init = init  # type: ignore[attr-defined]
    module.__spec__ = importlib.machinery.ModuleSpec("trackio", None)
    monkeypatch.setitem(sys.modules, "trackio", module)
    run = TrackedRun("kmeans-k10", "abcdef0123", tmp_path, {"r": 16})
    for _ in ("started", "resumed"):
        session = require_tracker("trackio").start(run)
        session.log({"train_loss": 1.5}, 3)
        session.finish()
    quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    opened = ("rowpick", "kmeans-k10-abcdef", {"r": 16}, "allow", quiet)
    assert calls == [opened, (3, {"train_loss": 1.5}), "finished"] * 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "* Trackio project initialized" in shown.err


def test_a_run_and_its_resumed_rest_are_one_wandb_run_with_config_digest_and_curves(
    selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    from curate.selection.record import read_selection
    from finetune.run.record import read_run
    from tests.finetune.run.test_resume import interrupt_at

    started: list[dict[str, Any]] = []
    logged: list[tuple[int, dict[str, Any]]] = []

    class Run:
        def log(self, values: dict[str, Any], step: int) -> None:
            logged.append((step, values))

        def finish(self) -> None:
            started[-1]["finished"] = True

    def init(**more: Any) -> Run:
        started.append(more)
        return Run()

    monkeypatch.setattr(wandb, "init", init)
    out = tmp_path / "r"
    with monkeypatch.context() as patched:
        interrupt_at(2, patched)
        arguments = ["run", "--selection", str(selection), "--out", str(out), "--track", "wandb-offline", *QUICK]
        assert main([*arguments, "max_steps=4"]) == 130
    assert main(["run", "--resume", str(out), "--track", "wandb-offline"]) == 0
    assert [run["finished"] for run in started] == [True, True]
    assert started[0]["id"] == started[1]["id"]
    assert started[0]["resume"] == "allow"
    assert started[0]["config"]["selection_digest"] == read_selection(selection).digest
    assert started[0]["config"]["learning_rate"] == 1e-2
    history = read_run(out).history
    assert [step for step, _ in logged] == [line["step"] for line in history] == [0, 1, 2, 3, 4]
    for (_, values), line in zip(logged, history, strict=True):
        assert {name: values.get(name) for name in ("train_loss", "eval_loss", "learning_rate")} == {
            name: line[name] for name in ("train_loss", "eval_loss", "learning_rate")
        }


@pytest.mark.long
def test_offline_leaves_files_of_wandbs_own_and_asks_nothing(selection: Path, tmp_path: Path) -> None:
    """The real library, in a process of its own with its input closed."""
    import os
    import subprocess
    import sys

    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-m", "finetune.cli", "run", "--selection", str(selection), "--out", str(tmp_path / "r"),
         "--track", "wandb-offline", "--json", *QUICK, "max_steps=2"],
        cwd=Path(__file__).parents[3], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["steps"] == 2
    assert list((tmp_path / "r" / "wandb").glob("offline-run-*/*.wandb"))
