"""Several machines: what options mean, where they meet, and that the run is the one of one process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from curate.errors import UsageError, UserError
from finetune.cli import main
from finetune.parallel.launch import launch
from finetune.parallel.layout import Layout, build_layout, layout_of
from finetune.parallel.software import difference, software_here
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK
from tests.finetune.test_run import largest_difference


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((1, "fdsp", 1, None), '--parallel is "fdsp". Did you mean "fsdp"?'),
        ((1, "fsdp", 1, None), "--parallel fsdp spreads the weights, and there is one GPU."),
        ((2, "ddp", 2, None), "--nodes is 2 and no --rendezvous says where they meet."),
        ((2, "ddp", 1, "host:29400"), "--rendezvous is for several machines, and --nodes is 1."),
        ((2, "ddp", 2, "host"), '--rendezvous is "host". Write HOST:PORT'),
        ((2, "ddp", 2, "host:99999"), '--rendezvous is "host:99999". Write HOST:PORT'),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        build_layout(*options)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("layout", [Layout(), Layout(4), Layout(2, "fsdp"), Layout(8, "fsdp", 2), Layout(2, "ddp", 3)])
def test_a_layout_is_read_back_from_what_a_run_records(layout: Layout) -> None:
    assert layout_of(layout.as_record()) == layout


def test_machines_that_differ_are_named_with_what_differs() -> None:
    here = software_here()
    assert difference([here, here]) is None
    other = here | {"machine": "node2", "torch": "1.0", "peft": "0.1"}
    assert difference([here, other]) == (
        f"{here['machine']} and node2 differ: torch {here['torch']} and 1.0, peft {here['peft']} and 0.1."
    )


@pytest.mark.parametrize(
    ("rendezvous", "sentence"),
    [
        ("127.0.0.1:29418", "Not all of 2 machines came to 127.0.0.1:29418 within 2 s. Start the same command on each"),
        ("no-such-host.invalid:29418", "Nothing answers at the rendezvous no-such-host.invalid:29418 (2 s). Start"),
    ],
)
def test_machines_that_do_not_meet_are_one_line(rendezvous: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        launch(print, Layout(1, "ddp", 2, rendezvous), "alone", (), answer=2, meet=2)
    assert str(error.value).startswith(sentence)


KILLED = "Process 1 of 2 was killed (SIGKILL): for want of memory, if nobody did it. Everything up to the last"


@pytest.mark.parametrize(
    ("nodes", "exit_code", "reported", "sentence"),
    [
        (1, -9, None, KILLED),
        (1, -9, RuntimeError("Connection closed by peer [127.0.0.1]:1"), KILLED),
        (1, -9, KeyboardInterrupt(), KILLED),
        (2, 1, RuntimeError("Connection closed by peer [10.0.0.2]:1"), "Another machine of this run does not answer"),
        (2, 1, None, "Another machine of this run does not answer any more. Look at its messages. Everything up to"),
        (1, 1, ValueError("wrong"), "a process of this run failed:\nTraceback (most recent call last):"),
        (1, 1, UserError("Wrong.", "Do that."), "Wrong. Do that."),
    ],
)
def test_what_ends_a_run_of_several_processes_is_said_in_a_line(
    nodes: int, exit_code: int, reported: BaseException | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun's launcher is stood in for by one that does the work here, and reports a failure as it does."""

    def fail(*_: Any) -> None:
        if reported is not None:
            raise reported

    def launcher(_: Any, work: Any) -> Any:
        def run(*arguments: Any) -> None:
            with contextlib.suppress(BaseException):
                work(*arguments)
            raise ChildFailedError("work", {1: ProcessFailure(1, 7, exit_code, "none")})

        return run

    monkeypatch.setattr("finetune.parallel.launch.elastic_launch", launcher)
    layout = Layout(2) if nodes == 1 else Layout(1, "ddp", 2, "127.0.0.1:29420")
    with pytest.raises(RuntimeError if isinstance(reported, ValueError) else UserError) as error:
        launch(fail, layout, "name", ())
    assert str(error.value).startswith(sentence)


@pytest.mark.long
def test_a_process_that_is_killed_ends_the_run_in_one_line(selection: Path, tmp_path: Path) -> None:
    arguments = ["--selection", str(selection), "--out", str(tmp_path / "r"), "--track", "none", "--gpus", "2"]
    quick = [*QUICK, "per_device_train_batch_size=4", "max_steps=300", "num_train_epochs=1000"]
    run = subprocess.Popen(
        [sys.executable, "-m", "finetune.cli", "run", *arguments, *quick],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.stderr is not None
    assert next(line for line in run.stderr if line.startswith("step 2/"))
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    workers = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(int(workers[-1]), signal.SIGKILL)
    rest = run.stderr.read()
    assert run.wait() == 1
    assert "was killed (SIGKILL)" in rest.splitlines()[-1]
    assert "Traceback" not in rest


@pytest.mark.long
def test_two_machines_train_the_run_that_one_process_does(selection: Path, tmp_path: Path) -> None:
    """Both are this one. Whoever comes second in writing waits; both print the run's folder at the end."""
    common = [
        "run", "--selection", str(selection), "--track", "none", *QUICK, "per_device_train_batch_size=2",
        "learning_rate=1e-3",
    ]  # fmt: skip
    assert main([*common, "--out", str(tmp_path / "1")]) == 0
    several = ["--nodes", "2", "--rendezvous", "127.0.0.1:29419", "--parallel", "fsdp", "--out", str(tmp_path / "2")]
    command = [sys.executable, "-m", "finetune.cli", *common, *several]
    machines = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        for _ in range(2)
    ]
    assert [machine.communicate()[0].strip() for machine in machines] == [str(tmp_path / "2")] * 2
    assert [machine.returncode for machine in machines] == [0, 0]
    one, two = (read_run(tmp_path / name) for name in ("1", "2"))
    recorded = two.manifest.config
    assert (recorded["gpus"], recorded["parallel"], recorded["nodes"]) == (2, "fsdp", 2)
    assert [line["eval_loss"] for line in one.history] == pytest.approx(
        [line["eval_loss"] for line in two.history], abs=1e-5
    )
    assert largest_difference(tmp_path / "1", tmp_path / "2") <= 1e-5
