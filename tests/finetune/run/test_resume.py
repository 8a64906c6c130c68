"""A run that is stopped, at any instant and in any way, goes on to the very bytes of one left alone."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curate.artifact import digest_file
from evaluate_suite.cli import main as evalsuite
from finetune.cli import main
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK

ROOT = Path(__file__).parents[3]
SAME = ("history.jsonl", "adapter/adapter_model.safetensors")


def run(selection: Path, out: Path, *more: str) -> int:
    return main(["run", "--selection", str(selection), "--out", str(out), "--track", "none", *QUICK, *more])


def resume(out: Path) -> int:
    return main(["run", "--resume", str(out), "--track", "none"])


def digests(out: Path) -> list[str]:
    return [digest_file(out / name) for name in SAME]


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT) -> None:
    """Send this process a signal when `step` has been computed and before anything of it is written."""
    from finetune.parallel.processes import Processes
    from finetune.run.interrupt import Interrupt

    asked = Processes.any
    steps: list[int] = []

    def count(self: Processes, here: bool) -> bool:
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), number)
        return asked(self, here or (len(steps) == step and interrupts[0].asked))

    interrupts: list[Interrupt] = []
    enter = Interrupt.__enter__

    def remember(self: Interrupt) -> Interrupt:
        interrupts.append(self)
        return enter(self)

    monkeypatch.setattr(Interrupt, "__enter__", remember)
    monkeypatch.setattr(Processes, "any", count)


@pytest.mark.long
def test_a_run_killed_at_any_instant_goes_on_to_the_same_bytes(selection: Path, tmp_path: Path) -> None:
    settings = [*QUICK, "lora_dropout=0.1", "max_steps=4"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.finetune.run.killed_runs"),
            *(str(selection), str(tmp_path / "runs"), "8", *settings),
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["different"] == {}
    assert told["tried"] == 8
    assert told["events"] > 50


@pytest.mark.parametrize(("step", "number", "kernels"), [(3, signal.SIGINT, "auto"), (4, signal.SIGTERM, "true")])
def test_ctrl_c_saves_the_step_says_how_to_go_on_and_loses_nothing(
    selection: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: int,
    number: int,
    kernels: str,
) -> None:
    """Also between two log lines, where the sums of a half-finished line must be kept."""
    settings = ["logging_steps=2", "eval_steps=4", "lora_dropout=0.1", f"kernels={kernels}"]
    stopped = tmp_path / "a run"
    assert run(selection, tmp_path / "whole", *settings) == 0
    with monkeypatch.context() as patched:
        interrupt_at(step, patched, number)
        assert run(selection, stopped, *settings) == 130
    assert f"go on with: finetune run --resume '{stopped}'" in capsys.readouterr().err
    assert (stopped / "checkpoints" / f"checkpoint-{step}" / "complete").exists()
    assert not (stopped / "manifest.json").exists()
    assert resume(stopped) == 0
    assert f"Going on from step {step}." in capsys.readouterr().err
    assert digests(stopped) == digests(tmp_path / "whole")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import finetune.run.interrupt as module

    times = iter([0.0, 0.5, 2.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    with module.Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # the same keypress, passed on by a launcher
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_that_stopped_early_and_was_killed_before_its_manifest_does_not_train_on(
    selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune import recipe as train

    # So high a rate that the eval loss rises from the second evaluation on.
    settings = ["early_stopping_patience=1", "learning_rate=5", "max_steps=12", "eval_steps=1"]
    assert run(selection, tmp_path / "whole", *settings) == 0
    whole = read_run(tmp_path / "whole")
    assert whole.history[-1]["step"] < 12
    assert whole.manifest.config["best_step"] == whole.history[-1]["step"] - 1

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train, "finish", die)
        assert run(selection, tmp_path / "r", *settings) == 130
    assert resume(tmp_path / "r") == 0
    assert digests(tmp_path / "r") == digests(tmp_path / "whole")


def test_the_adapter_handed_out_is_that_of_the_lowest_eval_loss(selection: Path, tmp_path: Path) -> None:
    """Not the last one: the model is made worse on purpose, and the best step's eval loss is measured again."""
    from finetune.batches.dataset import encode_rows
    from finetune.batches.token_loss import mean_loss, row_losses
    from finetune.model import load_run

    assert (
        run(selection, tmp_path / "r", "learning_rate=3", "lr_scheduler_type=constant", "eval_steps=1", "max_steps=2")
        == 0
    )
    made = read_run(tmp_path / "r")
    losses = {line["step"]: line["eval_loss"] for line in made.history[1:]}
    best = min(losses, key=lambda step: (losses[step], step))
    assert best == 1, losses
    model, tokenizer = load_run(tmp_path / "r")
    picked = made.read_selection()
    rows = encode_rows(tokenizer, picked, picked.holdout[:4])
    assert mean_loss(row_losses(model, rows, 0)) == losses[best]


def test_a_resumed_run_holds_no_more_memory_than_one_that_never_stopped(
    selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from finetune.run.history import History

    before = [x for x in gc.get_objects() if isinstance(x, torch.Tensor)]  # of other tests, some without any storage
    held: dict[str, int] = {}
    append = History.append
    name = "whole"

    def count(self: History, step: int, *rest: Any) -> Any:
        if step == 6:
            gc.collect()
            here = {id(x) for x in before}
            tensors = [x for x in gc.get_objects() if isinstance(x, torch.Tensor) and id(x) not in here]
            held[name] = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())
        return append(self, step, *rest)

    monkeypatch.setattr(History, "append", count)
    assert run(selection, tmp_path / "whole") == 0
    with monkeypatch.context() as patched:
        interrupt_at(3, patched)
        assert run(selection, tmp_path / "r") == 130
    name = "resumed"
    assert resume(tmp_path / "r") == 0
    assert held["resumed"] <= held["whole"]


def test_a_disk_that_fills_up_at_a_checkpoint_is_one_line_and_nothing_is_lost(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands in for the disk: the adapter still fits, the optimizer's state does not."""
    import resource

    assert run(selection, tmp_path / "whole") == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert run(selection, tmp_path / "r") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: Could not write the checkpoint of step 2 (")
    assert told.endswith(f"free space, then: finetune run --resume {tmp_path / 'r'}")
    assert list((tmp_path / "r" / "checkpoints").iterdir()) == []
    assert resume(tmp_path / "r") == 0
    assert digests(tmp_path / "r") == digests(tmp_path / "whole")


def test_a_run_that_diverges_says_so_in_one_line(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(selection, tmp_path / "r", "learning_rate=1e30", "max_grad_norm=1e30") == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the run has diverged. Lower learning_rate (it is 1e+30)" in told
    assert evalsuite(["verdict", str(tmp_path / "r")]) == 0
    assert "diverged" in capsys.readouterr().out
