"""The engine `ray`: the same bytes as `local`, whoever dies on the way; errors in one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.config import SelectConfig
from curate.engines import open_engine
from curate.engines.local import LocalEngine
from curate.engines.ray_cluster import RayEngine
from curate.engines.types import Engine
from curate.errors import UserError
from curate.pipeline import build_candidates, complete, load, pick, prepare
from curate.selection.choosing import choose
from curate.selection.steps import Prepared, Stopwatch
from curate.selection.write import write
from curate.strategies.table import STRATEGIES
from tests.curate.engines.test_local_engine import DiesOnce, many_rows

PLAIN = [name for name, entry in STRATEGIES.own.items() if entry.needs <= {"clusters", "embeddings"}]
FILES = ("selected.jsonl", "holdout.jsonl", "decisions.parquet", "report.html")


def test_ray_that_is_not_installed_is_an_error_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray, which is not installed\. pip install 'rowpick\[ray\]'"):
        RayEngine("127.0.0.1:1")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:1", "Nothing answers at --ray-address 127.0.0.1:1 .*ray start --head"),
        ("somewhere", '--ray-address is "somewhere". Write auto, or HOST:PORT'),
    ],
)
def test_an_address_where_nothing_answers_is_said_at_once(address: str, why: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=why):
        RayEngine(address)


@dataclass(frozen=True)
class Cluster:
    """A cluster of two nodes of one core on this machine; `second` is the process that runs the one that is no head."""

    address: str
    second: int


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, "--num-cpus=1", "--block"]
    return subprocess.Popen([*command, "--disable-usage-stats"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _kill(process: int) -> None:
    """Kill a process and all that it started, and nothing else."""
    try:
        children = [
            child
            for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        os.kill(process, signal.SIGKILL)
    except (OSError, ProcessLookupError):
        return
    for child in children:
        _kill(int(child))


@pytest.fixture
def cluster(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    ray = pytest.importorskip("ray", reason="RAY IS ABSENT: pip install 'rowpick[ray]'")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # on a busy machine nice workers never come to their turn
    port = 21_000 + os.getpid() % 9_000
    nodes = [_start("--head", f"--port={port}", "--include-dashboard=false")]
    try:
        _wait(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close())
        # An address of its own: a driver joins a node that has its machine's, and that one must not be killed.
        nodes.append(_start(f"--address=127.0.0.1:{port}", "--node-ip-address=127.0.0.2"))
        ray.init(address=f"127.0.0.1:{port}", logging_level="ERROR", log_to_driver=False)
        _wait(lambda: [node["NodeID"] for node in ray.nodes() if node["Alive"]][1])
        ray.shutdown()
        yield Cluster(f"127.0.0.1:{port}", nodes[1].pid)
    finally:
        ray.shutdown()
        for node in nodes:
            _kill(node.pid)
            node.wait()


def _wait(attempt: Callable[[], object]) -> None:
    """Try once a half second, for two minutes at most."""
    for left in reversed(range(240)):
        try:
            attempt()
            return
        except (OSError, IndexError):
            if not left:
                raise
            time.sleep(0.5)


def prepared_by(engine: Engine, config: SelectConfig) -> Prepared:
    watch = Stopwatch()
    return prepare(load(config, watch, engine), watch)


def files_of(prepared: Prepared, folder: Path) -> dict[str, bytes]:
    write(prepared, pick(prepared), folder, (), Stopwatch())
    return {name: (folder / name).read_bytes() for name in FILES}


@dataclass(frozen=True)
class Slowly:
    """Waits before it squares a number, so that a node can die in between."""

    seconds: float

    def __call__(self, number: int) -> int:
        time.sleep(self.seconds)
        return number * number


@pytest.mark.long
def test_local_and_ray_make_the_same_bytes_with_every_strategy(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "rows.jsonl"
    _write_rows(pool)
    config = SelectConfig(
        dataset=str(pool), model="smollm2-135m", encoder="tfidf", k=60, holdout=50, near_duplicate=0.99,
        clean=("empty", "duplicates", "refusals", "near-duplicates"), seed=3,
    )  # fmt: skip
    engines: list[Engine] = [LocalEngine(workers=1), LocalEngine(2, 1, few_blocks=0), RayEngine(cluster.address, 1)]
    monkeypatch.setattr("curate.artifact.array_cache.stored_array", lambda *_, **__: None)  # counted by each engine
    all_prepared = [prepared_by(engine, config) for engine in engines]
    seen: dict[str, list[Any]] = {}
    for prepared in all_prepared:
        candidates = build_candidates(prepared)
        arrays = (candidates.embeddings, candidates.labels, candidates.centres, candidates.token_counts)
        seen.setdefault("arrays", []).append([np.asarray(array).tobytes() for array in arrays])
        for name in PLAIN:
            own = config.model_copy(update={"strategy": name})
            picks = choose(own, complete(prepared, own, candidates))
            seen.setdefault(name, []).append((picks.indices.tolist(), picks.reasons, picks.notes))
    assert {name for name, results in seen.items() if results != results[:1] * 3} == set()
    written = [files_of(prepared, tmp_path / str(number) / "s") for number, prepared in enumerate(all_prepared)]
    assert [name for name in FILES if len({files[name] for files in written}) > 1] == []

    for engine in engines:
        engine.close()


@pytest.mark.scale
@pytest.mark.timeout(3600)
def test_of_100_000_rows_local_and_ray_make_the_same_bytes(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, vectors = tmp_path / "rows.jsonl", tmp_path / "vectors.npy"
    rows = ({"instruction": f"Add {n} to x.", "output": f"def add(x):\n    return x + {n}"} for n in range(100_000))
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.save(vectors, np.random.default_rng(0).standard_normal((100_000, 32), dtype=np.float32))
    config = SelectConfig(
        dataset=str(pool), model="smollm2-135m", vectors=str(vectors), k=1000, holdout=200, near_duplicate=0.99, seed=3
    )
    monkeypatch.setattr("curate.artifact.array_cache.stored_array", lambda *_, **__: None)  # counted by each engine
    seen: dict[str, list[Any]] = {}
    for number, engine in enumerate([LocalEngine(), RayEngine(cluster.address)]):
        prepared = prepared_by(engine, config)
        candidates = build_candidates(prepared)
        for name in ("random", "kmeans", "kmeans-centroid", "density", "facility-location"):
            own = config.model_copy(update={"strategy": name})
            picks = choose(own, complete(prepared, own, candidates))
            seen.setdefault(name, []).append((picks.indices.tolist(), picks.reasons, picks.notes))
        for name, content in files_of(prepared, tmp_path / str(number) / "s").items():
            seen.setdefault(name, []).append(content)
        engine.close()
    assert {name for name, results in seen.items() if results[0] != results[1]} == set()
    assert len(seen["kmeans"][0][0]) == 1000


@pytest.mark.long
def test_on_ray_a_killed_worker_and_a_killed_node_cost_no_result_and_say_nothing_on_stdout(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_engine("ray", cluster.address) as engine:
        assert list(engine.map(DiesOnce(str(tmp_path), 5), range(12))) == [n * n for n in range(12)]
        squares = engine.map(Slowly(0.5), range(16))
        first = [next(squares) for _ in range(2)]
        _kill(cluster.second)
        assert [*first, *squares] == [n * n for n in range(16)]
    said = capsys.readouterr()
    assert said.out == ""
    assert "so the task will be retried" in said.err


@pytest.mark.long
def test_a_path_that_only_the_driver_sees_is_named_with_its_node(cluster: Cluster, tmp_path: Path) -> None:
    engine = RayEngine(cluster.address)
    engine.require_path(str(tmp_path))
    with pytest.raises(UserError, match=r"does not see /nowhere/encoder, which only this machine has\. Put \$ROWPICK"):
        engine.require_path("/nowhere/encoder")
    engine.close()


def _write_rows(path: Path) -> None:
    lines = ({"instruction": row.instruction, "output": row.output} for row in many_rows())
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
