"""A study's cells, made by several processes or by Ray: the same runs, and what is lost costs its cell alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from curate.artifact import digest_file
from curate.errors import UsageError
from evaluate_suite.cli import main as evalsuite
from evaluate_suite.study.ray_runner import OnRay, choose_runner
from evaluate_suite.study.runner import Failed, Here, Workers
from finetune.config import RunConfig
from finetune.run.record import runs_dir
from tests.evaluate_suite.study.test_study import TINY
from tests.finetune.conftest import made_selection, tiny_model  # noqa: F401

NAMES = ["a", "b", "c", "d"]
CELLS = [(3, "fine"), (4, "error"), (5, "dead"), (6, "fine")]


def cell(number: int, kind: str) -> int:
    """A cell that is done, fails, or takes its process with it."""
    if kind == "dead":
        os._exit(9)
    if kind == "error":
        raise ValueError(f"{number} is wrong")
    return number * number


def check(outcomes: list[Any]) -> None:
    assert outcomes[0::3] == [9, 36]
    assert outcomes[1] == Failed("ValueError: 4 is wrong")
    assert isinstance(outcomes[2], Failed)


@pytest.mark.long
def test_a_cell_that_fails_or_kills_its_process_costs_itself_alone() -> None:
    outcomes = Workers(2).run(cell, CELLS, NAMES)
    check(outcomes)
    assert outcomes[2].why.startswith("its process was killed")
    assert Here().run(cell, CELLS[:2], NAMES[:2]) == outcomes[:2]


@pytest.mark.long
def test_ray_does_the_same_and_loses_the_cell_of_a_dead_worker_alone() -> None:
    ray = pytest.importorskip("ray", reason="RAY IS NOT INSTALLED: cells on a cluster are not shown")
    try:
        check(OnRay(None, 0.0, 2).run(cell, CELLS, NAMES))
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("rey", "1", None, None), '--runner is "rey". Did you mean "ray"?'),
        (("local", "0", None, None), "--workers is 0; it must be at least 1."),
        (("local", "1", "auto", None), "--ray-address is for --runner ray."),
        (("ray", "1", None, -0.5), "--gpu-share is -0.5; it must be 0 or more."),
    ],
)
def test_options_of_runners_that_mean_nothing_are_refused(options: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        choose_runner(*options, RunConfig(device="cpu"))
    assert str(error.value).startswith(sentence)


def adapters() -> dict[str, str]:
    """Digest of every run's adapter, by the run's name."""
    return {run.name: digest_file(run / "adapter" / "adapter_model.safetensors") for run in runs_dir().iterdir()}


@pytest.mark.long
def test_a_study_by_ray_makes_the_runs_of_one_process(
    made_selection: Path,  # noqa: F811
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="RAY IS NOT INSTALLED: studies on a cluster are not shown")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "reverse a list", "language": "python"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ways = {"here": ["--workers", "1"], "ray": ["--runner", "ray", "--workers", "2"]}
    made = {}
    for name, options in ways.items():
        monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / name))
        command = [
            "study", "--strategies", "random", "--draws", "2", "--k", "20", "--dataset",
            str(made_selection.parent / "rows.jsonl"), "--model", str(tiny_model), "--encoder", "tfidf",
            "--near-duplicate", "0.999", "--prompts", "prompts.jsonl", "--max-new-tokens", "4",
            "--out", str(tmp_path / f"report-{name}"), *options, *TINY,
        ]  # fmt: skip
        try:
            assert evalsuite(command) == 0
        finally:
            ray.shutdown()
        made[name] = adapters()
    assert len(made["here"]) == 2
    assert made["ray"] == made["here"]
    reports = [(tmp_path / f"report-{name}" / "generations.jsonl").read_bytes() for name in ways]
    assert reports[1] == reports[0]
