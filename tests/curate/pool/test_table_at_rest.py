"""The pool at rest: what goes in comes out, in every order, whatever was sorted on disk on the way."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from curate.artifact import cache_dir, digest_json
from curate.pool import writer
from curate.pool.rows import Row, build_row
from curate.pool.table import Instructions, PoolTable
from curate.pool.writer import write_table


def rows(n: int) -> list[Row]:
    """Rows with repeats, lone surrogates, empty texts, and a column that only some have."""
    rng = random.Random(1)
    return [
        build_row(
            i,
            f"ask {rng.randrange(n // 2)}" + ("\ud800é" if i % 7 == 0 else ""),
            "out " * rng.randrange(4),
            f"file {i % 3}",
            {"license": "mit"} if i > n // 2 and i % 2 else {},
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("run_rows", [100_000, 4_500])
def test_rows_come_back_as_they_were_from_one_run_and_from_merged_ones(
    run_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RUN_ROWS", run_rows)
    given = rows(10_000)
    table = write_table(given)
    assert list(table) == given
    assert (table[17], table[-1], table[5:9]) == (given[17], given[-1], given[5:9])
    in_order = sorted(given, key=lambda row: (row.row_id, row.row_index))
    assert table.read(np.arange(10_000)) == in_order
    assert table.travelling == ("license",)
    assert table.column("license").to_pylist() == [row.extra.get("license") for row in given]
    assert table.column("source").to_pylist() == [row.source for row in given]
    assert table.output_chars.tolist() == [len(row.output) for row in in_order]
    assert table.digest() == digest_json(sorted(row.row_id for row in given))
    assert table.order_digest() == digest_json([row.row_id for row in given])
    assert Instructions(table)[given[33].row_id] == given[33].instruction
    assert "0" * 16 not in Instructions(table)
    assert [path.name for path in cache_dir("pools").iterdir() if path.name.startswith(".run-")] == []


def test_the_file_is_written_once_and_made_again_when_damaged() -> None:
    first = write_table(rows(9_000))
    before = Path(first.path).read_bytes()
    stamp = Path(first.path).stat().st_mtime_ns
    assert write_table(rows(9_000)) == first
    assert Path(first.path).stat().st_mtime_ns == stamp
    Path(first.path).write_bytes(before[:-100])
    assert list(write_table(rows(9_000))) == rows(9_000)
    assert write_table(rows(9_000)[::-1]) != first


def test_only_the_path_of_a_table_travels_to_other_processes() -> None:
    table = write_table(rows(5_000))
    assert len(table.ids) == 5_000
    carried = pickle.dumps(table)
    assert len(carried) < 500
    assert pickle.loads(carried)[3] == table[3]
    assert isinstance(table, PoolTable)
