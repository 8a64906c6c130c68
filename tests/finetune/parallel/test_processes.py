"""Several processes that share every step: the run is the same up to rounding, whatever their number."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import UserError
from curate.selection.record import read_selection
from finetune.cli import main
from finetune.config import RunConfig
from finetune.parallel.processes import Processes, batch_shape, own_bins
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK
from tests.finetune.run.test_resume import interrupt_at
from tests.finetune.test_run import largest_difference

WAYS = {
    "ddp": ["--parallel", "ddp"],
    "fsdp": ["--parallel", "fsdp"],
    "fsdp-4bit-kernels": ["--parallel", "fsdp", "load_in_4bit=true", "kernels=true"],
}
SETTINGS = ["per_device_train_batch_size=4", "eval_steps=1", "learning_rate=1e-3"]


@pytest.mark.parametrize("way", [pytest.param(way, marks=pytest.mark.long if "4bit" in way else ()) for way in WAYS])
@pytest.mark.long
def test_two_processes_train_the_run_that_one_does(way: str, selection: Path, tmp_path: Path) -> None:
    """12 bins in steps of 8: the second process's part of the last step is empty. Eval rows are shared out too."""
    more = [word for word in WAYS[way] if "=" in word]
    for gpus, options in (("1", more), ("2", WAYS[way])):
        arguments = ["run", "--selection", str(selection), "--out", str(tmp_path / gpus), "--track", "none"]
        assert main([*arguments, "--gpus", gpus, *QUICK, *SETTINGS, *options]) == 0
    one, two = (read_run(tmp_path / gpus) for gpus in ("1", "2"))
    assert (one.manifest.config["gpus"], two.manifest.config["gpus"]) == (1, 2)
    assert two.manifest.config.get("parallel", "ddp") == way.partition("-")[0]
    assert one.manifest.config["run_digest"] == two.manifest.config["run_digest"]
    assert len(one.history) == len(two.history) == 3
    for a, b in zip(one.history, two.history, strict=True):
        assert (a["step"], a["tokens_seen"], a["learning_rate"]) == (b["step"], b["tokens_seen"], b["learning_rate"])
        assert a["eval_loss"] == pytest.approx(b["eval_loss"], abs=1e-5)
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-5)
    assert largest_difference(tmp_path / "1", tmp_path / "2") <= 1e-5
    assert (tmp_path / "2" / "checkpoints" / "checkpoint-2" / "rng_state_1.pth").is_file()


@pytest.mark.parametrize("way", [pytest.param("ddp", marks=pytest.mark.long), "fsdp"])
@pytest.mark.long
def test_a_run_goes_on_with_another_number_of_processes(
    way: str, selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun by one, interrupted, and ended by two: the run of one left alone."""
    arguments = ["run", "--selection", str(selection), "--track", "none", *QUICK, *SETTINGS]
    assert main([*arguments, "--out", str(tmp_path / "alone")]) == 0
    with monkeypatch.context() as patched:
        interrupt_at(1, patched)
        assert main([*arguments, "--out", str(tmp_path / "moved")]) == 130
    assert main(["run", "--resume", str(tmp_path / "moved"), "--gpus", "2", "--parallel", way, "--track", "none"]) == 0
    alone, moved = (read_run(tmp_path / name) for name in ("alone", "moved"))
    assert moved.manifest.config["gpus"] == 2
    assert len(alone.history) == len(moved.history) == 3
    for a, b in zip(alone.history, moved.history, strict=True):
        assert (a["step"], a["tokens_seen"]) == (b["step"], b["tokens_seen"])
        assert a["eval_loss"] == pytest.approx(b["eval_loss"], abs=1e-5)
    assert largest_difference(tmp_path / "alone", tmp_path / "moved") <= 1e-5


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
def test_every_bin_is_trained_on_once_and_in_its_step(size: int) -> None:
    config = RunConfig(per_device_train_batch_size=4, gradient_accumulation_steps=3)
    bins = [[i] for i in range(29)]
    parts = [own_bins(bins, config, Processes(rank, size)) for rank in range(size)]
    batch, accumulation = batch_shape(config, size)
    assert batch * accumulation * size == 12
    steps = [
        sorted(i for part in parts for bin_ in part[start : start + batch * accumulation] for i in bin_)
        for start in range(0, len(parts[0]), batch * accumulation)
    ]
    assert steps == [list(range(12)), list(range(12, 24)), list(range(24, 29))]
    assert len({len(part) for part in parts}) == 1


def test_a_step_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(UserError, match=r"A step takes 8 bins .* which 3 GPUs cannot share evenly. "
                                        r"Set gradient_accumulation_steps=3."):  # fmt: skip
        batch_shape(RunConfig(per_device_train_batch_size=4, gradient_accumulation_steps=2), 3)


def test_more_gpus_than_there_are_is_one_line(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [setting for setting in QUICK if setting != "device=cpu"]
    arguments = ["run", "--selection", str(selection), "--out", str(tmp_path / "r"), "--gpus", "64"]
    assert main([*arguments, *quick, "gradient_accumulation_steps=64"]) == 1
    assert "--gpus is 64 and torch can use" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_what_a_process_reports_is_raised_where_it_was_launched(
    selection: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher is stood in for by one that does the work here, and reports its failure as torchrun's does."""
    from typing import Any

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    from finetune.recipe import train

    def launcher(_: Any, work: Any) -> Any:
        def run(*arguments: Any) -> None:
            with pytest.raises(UserError):
                work(*arguments)
            raise ChildFailedError("work", {0: ProcessFailure(0, 1, 1, "none")})

        return run

    monkeypatch.setattr("finetune.parallel.launch.elastic_launch", launcher)
    settings = dict(setting.split("=") for setting in QUICK)
    config = RunConfig(model=str(tiny_model), target_modules=["nothing"], **settings)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"target_modules \['nothing'\] do not fit"):
        train(config, read_selection(selection), tmp_path / "r", track="none", gpus=2)
