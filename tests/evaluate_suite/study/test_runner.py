"""A study's cells, made by several processes or by Ray: the same runs, and what is lost costs its cell alone."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate.artifact import digest_file
from curate.errors import UsageError
from evaluate_suite.cli import main as evalsuite
from evaluate_suite.study import runner
from evaluate_suite.study.cells_at_once import CellsAtOnce, cells_at_once, cells_that_fit
from evaluate_suite.study.ray_runner import OnRay, choose_runner
from evaluate_suite.study.runner import Failed, Here, Workers, card_of
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
    workers = Workers(2)
    outcomes = workers.run(cell, CELLS, NAMES)
    workers.end()
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


def slow_cell(number: int, folder: str) -> int:
    """A cell that says it has begun, and goes on once a node is lost."""
    (Path(folder) / f"{number}-{os.getpid()}").touch()
    wait_until((Path(folder) / "lost").exists)
    return number


def brief_cell(number: int, folder: str) -> int:
    """A cell that says it has begun, and takes two seconds."""
    (Path(folder) / str(number)).touch()
    time.sleep(2)
    return number


def wait_until(true: Callable[[], bool]) -> None:
    """Return as soon as it is so; fail after four minutes, rather than hold up the suite."""
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def gone(process: str) -> bool:
    """True of a process that has ended, also where nobody has asked for its exit status yet (a zombie)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.long
def test_a_lost_node_costs_the_cell_it_was_at_alone_and_that_is_made_on_another(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="RAY IS NOT INSTALLED: what a lost node costs is not shown")
    cluster = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    def lose_the_node() -> None:
        wait_until(lambda: len(list(tmp_path.iterdir())) >= 2)  # a core each: both nodes are at a cell
        workers = [path.name.partition("-")[2] for path in tmp_path.iterdir()]
        cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: any(map(gone, workers)))  # a worker outlives its node by a moment
        (tmp_path / "lost").touch()

    try:
        who = OnRay(cluster.address, 0.0)
        threading.Thread(target=lose_the_node, daemon=True).start()
        cells = [(number, str(tmp_path)) for number in range(4)]
        assert who.run(slow_cell, cells, NAMES) == [0, 1, 2, 3]
    finally:
        ray.shutdown()
        cluster.shutdown()
    begun = sorted(path.name.partition("-")[0] for path in tmp_path.glob("*-*"))
    assert len(begun) == len(cells) + 1


@pytest.mark.long
def test_an_interrupt_begins_no_further_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "say", interrupted)  # Ctrl-C when the first cell is done
    workers = Workers(1)
    with pytest.raises(KeyboardInterrupt):
        workers.run(brief_cell, [(number, str(tmp_path)) for number in range(4)], NAMES)
    workers.end()
    begun = [path.name for path in tmp_path.iterdir()]
    assert "0" in begun and "3" not in begun  # the second may have begun before


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


@pytest.mark.parametrize(
    ("gpus", "card", "peak", "cores", "each", "why"),
    [
        (2, 79.6, 51.8, 32, 1, "1 on each GPU, since a cell needs 51.8 GiB by the forecast, and a card has 79.6"),
        (2, 79.6, 90.0, 32, 1, "1 on each GPU, since a cell needs 90.0 GiB by the forecast, and a card has 79.6"),
        (1, 79.6, 12.0, 32, 5, "5 on each GPU, since a cell needs 12.0 GiB by the forecast, and a card has 79.6"),
        (4, 79.6, 2.0, 16, 2, "2 on each GPU, since the machine has 16 cores"),
        (2, 79.6, 2.0, 32, 8, "8 on each GPU, since the machine has 32 cores"),
        (2, 79.6, 2.0, 128, 8, "8 on each GPU, since more would only wait for the card"),
    ],
)
def test_as_many_cells_go_at_once_as_the_forecast_fits(
    gpus: int, card: float, peak: float, cores: int, each: int, why: str
) -> None:
    assert cells_that_fit(gpus, card, peak, cores) == CellsAtOnce(gpus, each, why)


def test_without_a_gpu_a_study_makes_one_cell_at_a_time() -> None:
    assert cells_at_once("auto", RunConfig(device="cpu")).total == 1
    assert cells_at_once("3", RunConfig(device="cpu")).total == 3


@pytest.mark.parametrize(
    ("visible", "cards"),
    [(None, ["0", "1", "0"]), ("2,3", ["2", "3", "2"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b", "GPU-a"])],
)
def test_workers_take_the_gpus_that_the_study_may_see(visible: str | None, cards: list[str]) -> None:
    assert [card_of(place, 2, visible) for place in range(3)] == cards


def worker_number(_: int) -> int:
    """A cell that says in which process it is done."""
    return os.getpid()


@pytest.mark.long
def test_workers_stay_from_one_stage_of_a_study_to_the_next() -> None:
    workers = Workers(1)
    first = workers.run(worker_number, [(1,), (2,)], ["a", "b"])
    assert workers.run(worker_number, [(3,)], ["c"]) == first[:1] == first[1:]
    workers.end()
    assert workers.run(worker_number, [(4,)], ["d"]) != first[:1]
    workers.end()


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
