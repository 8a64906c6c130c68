"""The engine `local`: results in order, the same for any cut into blocks, workers that die replaced."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from curate.cleaning import exact_duplicates, near_duplicates
from curate.cleaning.execution import run_check
from curate.cleaning.table import CHECKS
from curate.decontamination import BenchmarkTask, find_leaks, find_leaks_in_pool
from curate.engines import open_engine
from curate.engines.local import LocalEngine
from curate.errors import UsageError, UserError
from curate.pool.rows import Row, build_row
from curate.pool.table import PoolTable
from curate.pool.writer import write_table
from curate.vectors import gathering, neighbours
from curate.vectors.clustering import build_clusters
from curate.vectors.gathering import gathered
from curate.vectors.map_layout import lay_out
from curate.vectors.neighbours import nearest, nearest_everywhere


@dataclass(frozen=True)
class DiesOnce:
    """Squares a number; the first worker that is given `at` is killed."""

    marks: str
    at: int
    always: bool = False

    def __call__(self, number: int) -> int:
        mark = Path(self.marks) / "died"
        if number == self.at and (self.always or not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number


def test_a_killed_worker_is_replaced_and_every_result_comes_once_and_in_order(tmp_path: Path) -> None:
    engine = LocalEngine(workers=2, few_blocks=0)
    assert list(engine.map(DiesOnce(str(tmp_path), 11), range(40))) == [n * n for n in range(40)]
    assert (tmp_path / "died").exists()
    engine.close()


def test_a_block_that_kills_three_workers_is_an_error_that_names_it(tmp_path: Path) -> None:
    engine = LocalEngine(workers=2, few_blocks=0)
    with pytest.raises(UserError, match=r"died 3 times on block \d+ of 5 \(DiesOnce\).*remove very long rows"):
        list(engine.map(DiesOnce(str(tmp_path), 0, always=True), range(5)))


def test_few_blocks_start_no_process() -> None:
    assert set(LocalEngine(workers=4).map(lambda block: os.getpid(), range(3))) == {os.getpid()}


def test_an_unknown_engine_and_an_address_without_ray_are_usage_errors() -> None:
    with pytest.raises(UsageError, match='Unknown --engine "rai".*Did you mean "ray"'), open_engine("rai"):
        pass
    with pytest.raises(UsageError, match="--ray-address is for --engine ray"), open_engine("local", "auto"):
        pass


def many_rows() -> list[Row]:
    """9,000 short rows, three cells: some repeated to the letter, some nearly, some empty, some refusals."""
    rng = np.random.default_rng(7)
    words = np.array(["sort", "list", "read", "file", "parse", "date", "count", "token", "merge", "graph", "print"])
    texts = [" ".join(words[rng.integers(len(words), size=n)]) for n in rng.integers(8, 30, size=9_000)]
    for i, kind in enumerate(rng.integers(40, size=9_000).tolist()):
        if kind == 0:
            texts[i] = texts[i // 2]
        elif kind == 1:
            texts[i] = f"{texts[i // 2]} more"
        elif kind == 2:
            texts[i] = ""
        elif kind == 3:
            texts[i] = "I'm sorry, but I cannot help with that request."
    return [build_row(i, f"write {texts[i][:12]}", text, "made") for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def table(session_home: Path) -> PoolTable:
    return write_table(many_rows())


@pytest.mark.parametrize("block_cells", [1, 2, 8])
@pytest.mark.parametrize("name", [name for name, check in CHECKS.own.items() if check.by_row or check.in_pool])
def test_a_check_finds_in_blocks_what_it_finds_in_all_rows_at_once(
    name: str, block_cells: int, table: PoolTable
) -> None:
    engine = LocalEngine(workers=1, block_cells=block_cells)
    held_out, places = np.arange(0, 9_000, 9), np.flatnonzero(np.arange(9_000) % 9)
    findings = run_check(engine, table, name, places, held_out)
    at_once = CHECKS[name].load()(table.read(places), table.read(held_out))
    assert sorted(findings) == sorted(at_once)
    assert findings or name in ("language", "parse", "secrets")


def test_keys_by_blocks_in_processes_are_those_of_one_block(table: PoolTable) -> None:
    engine = LocalEngine(workers=2, block_cells=1, few_blocks=0)
    alone = LocalEngine(workers=1, block_cells=8)
    places = np.arange(9_000)
    one, two = (exact_duplicates.pool_keys(each, table, places) for each in (alone, engine))
    assert (one == two).all()
    found = near_duplicates.find_in_pool(engine, table, places[5:], places[:5])
    assert found == near_duplicates.find_in_pool(alone, table, places[5:], places[:5])
    engine.close()


def test_leaks_are_found_block_by_block(table: PoolTable) -> None:
    row = table.read(np.array([4_321]))[0]
    task = BenchmarkTask("T/1", f"{row.instruction} {row.output}", f"def f():\n    {row.output}", "")
    rows = [*table.read(np.arange(9_000))]
    found = find_leaks_in_pool(LocalEngine(workers=1), table, np.arange(9_000), [task])
    assert found == find_leaks(rows, [task])
    assert row.row_index in {index for index, _, _ in found}


def unit(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((30, 16))[rng.integers(30, size=n)] + 0.8 * rng.standard_normal((n, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_vectors_in_a_file_give_the_same_bytes_for_any_cut_into_blocks_and_processes(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit(20_000, 1))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    among = np.arange(20_000) % 7 > 0
    seen = []
    for engine in (*(LocalEngine(workers=1, block_cells=n) for n in (1, 2, 8)), LocalEngine(2, 1, few_blocks=0)):
        labels, centres = build_clusters(mapped, 25, np.random.default_rng(3), engine, among)
        place, cosine = nearest_everywhere(engine, mapped, np.asarray(mapped[:100]))
        seen.append([part.tobytes() for part in (labels, centres, place, cosine, lay_out(mapped, centres, engine))])
        engine.close()
    assert seen[1:] == seen[:1] * 3
    in_memory = build_clusters(np.asarray(mapped), 25, np.random.default_rng(3), LocalEngine(workers=1), among)
    assert [in_memory[0].tobytes(), in_memory[1].tobytes()] == seen[0][:2]


def test_clusters_are_at_least_as_tight_as_those_of_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    vectors = unit(6_000, 2)
    labels, centres = build_clusters(vectors, 30, np.random.default_rng(0))
    theirs = KMeans(30, n_init=1, max_iter=50, random_state=0).fit(vectors).cluster_centers_
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours_mean = np.einsum("nd,nd->n", vectors, centres[labels]).mean()
    assert ours_mean > (vectors @ theirs.T).max(axis=1).mean() - 0.01
    assert (np.diff(np.bincount(labels)) <= 0).all()


def test_a_mapped_matrix_leaves_no_pages_in_memory_when_its_rows_were_gathered_and_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/smaps").exists():
        pytest.skip("resident pages of a file are read from /proc")
    monkeypatch.setattr(gathering, "IN_MEMORY_ROWS", 1_000)
    monkeypatch.setattr(neighbours, "_GIVEN_BACK_ROWS", neighbours._BLOCK)
    np.save(tmp_path / "v.npy", unit(20_000, 1))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    places = np.flatnonzero(np.arange(20_000) % 7)
    copied = gathered(mapped, places)
    assert (copied == np.asarray(mapped)[places]).all()
    gathered(mapped, places)
    assert resident_kib(tmp_path / "v.npy") == 0
    monkeypatch.setattr(neighbours, "cores", lambda: 1)
    place, _ = nearest(mapped, np.asarray(mapped[5:9]))
    assert place[5:9].tolist() == [0, 1, 2, 3]
    assert resident_kib(tmp_path / "v.npy") == 0


def resident_kib(path: Path) -> int:
    """What of a mapped file is in this process's memory."""
    _, _, after = Path("/proc/self/smaps").read_text().partition(f"{path}\n")
    return int(next(line for line in after.splitlines() if line.startswith("Rss:")).split()[1])
