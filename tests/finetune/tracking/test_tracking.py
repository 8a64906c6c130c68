"""wandb: when it is wanted, what it is told, and never a question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UserError
from finetune.cli import main
from finetune.tracking.wandb_tracker import resolve_mode
from tests.finetune.conftest import QUICK


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine where nobody has logged in."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_a_key_it_is_off_and_with_one_online(
    no_key: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert resolve_mode(None) == "off"
    assert resolve_mode("offline") == "offline"
    with pytest.raises(
        UserError, match=r"--wandb online, but wandb has no key. Run `wandb login`, or use --wandb offline."
    ):
        resolve_mode("online")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert resolve_mode(None) == resolve_mode("online") == "online"
    assert resolve_mode("off") == "off"
    for mode, expected in (("offline", "offline"), ("disabled", "off")):
        monkeypatch.setenv("WANDB_MODE", mode)
        assert resolve_mode(None) == expected


def test_a_key_in_netrc_counts(no_key: None, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {'x' * 40}\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert resolve_mode(None) == "online"


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
        arguments = ["run", "--selection", str(selection), "--out", str(out), "--wandb", "offline", *QUICK]
        assert main([*arguments, "max_steps=4"]) == 130
    assert main(["run", "--resume", str(out), "--wandb", "offline"]) == 0
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
         "--wandb", "offline", "--json", *QUICK, "max_steps=2"],
        cwd=Path(__file__).parents[3], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["steps"] == 2
    assert list((tmp_path / "r" / "wandb").glob("offline-run-*/*.wandb"))
