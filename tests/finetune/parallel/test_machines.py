"""Several machines: what options mean, where they meet, and that the run is the one of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
