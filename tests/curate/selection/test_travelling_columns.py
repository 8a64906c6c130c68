"""Licence, language and ids travel from the source to what is written; the card says the mix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pytest

from curate.cli import main
from curate.config import SelectConfig
from curate.errors import UserError
from curate.pool.fates import Fates
from curate.pool.read_options import ReadOptions
from curate.pool.rows import build_row
from curate.pool.table import PoolTable
from curate.selection.hub_upload import push_selection
from curate.selection.mix import license_doubt
from curate.selection.record import read_selection
from curate.selection.steps import Pool, Prepared, Split, Vectors
from curate.selection.write import decision_columns
from curate.sources import load_rows
from curate.sources.types import LoadedPool
from curate.tokens.prompt import RAW
from tests.curate.selection.small_selections import run_select

ROWS = [
    {"instruction": f"print the word number {i} {'x' * (i % 5)}", "output": f"print({i}, 'word')", "id": i,
     "license": (None, "mit", "gpl-3.0")[i % 3], "source": "github" if i % 2 else None}
    for i in range(60)
]  # fmt: skip


def select(folder: Path, name: str, *more: str) -> int:
    return run_select(
        folder, ROWS, name, "--near-duplicate", "1", "--strategy", "first", "--k", "15", "--holdout", "4", *more
    )


def test_columns_are_in_selected_and_decisions_and_the_mix_on_the_card(tmp_path: Path) -> None:
    assert select(tmp_path, "all") == 0
    selection = read_selection(tmp_path / "all")
    lines = [json.loads(line) for line in (tmp_path / "all" / "selected.jsonl").read_text().splitlines()]
    assert [set(line) - set(ROWS[0]) for line in lines] == [{"row_id", "token_count"}] * 15
    by_text = {row["instruction"]: row for row in ROWS}
    for row, line in zip(selection.selected, lines, strict=True):
        there = by_text[row.instruction]
        assert row.extra == {"id": str(there["id"]), "license": there["license"]}
        assert (row.source, row.as_line()) == (there["source"] or "rows.jsonl", line)
    decisions = pyarrow.parquet.read_table(tmp_path / "all" / "decisions.parquet").to_pylist()
    assert [(d["id"], d["license"], d["source"]) for d in decisions] == [
        (str(row["id"]), row["license"], row["source"] or "rows.jsonl") for row in ROWS
    ]
    mix = selection.manifest.config["mix"]
    assert sum(mix["license"].values()) == 15 and set(mix["license"]) == {"mit", "gpl-3.0", "not said"}
    assert f"| mit | {mix['license']['mit']} |" in (tmp_path / "all" / "README.md").read_text()
    page = (tmp_path / "all" / "report.html").read_text()
    section = page.partition('id="mix"')[2].partition("</section>")[0]
    for name in ("source", "license"):
        for value, n in mix[name].items():
            assert f"<td>{name}</td><td>{value}</td><td>{n}</td>" in section
    splits = datasets.load_dataset(str(tmp_path / "all"), cache_dir=str(tmp_path / "cache"))
    assert {name: rows.num_rows for name, rows in splits.items()} == {"train": 15, "test": 4}


def test_columns_of_a_pool_may_hold_more_than_2_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, row_bytes = 30, 100 << 20
    with (tmp_path / "zeros").open("wb") as file:
        file.truncate(n * row_bytes)  # a hole: no memory and no disk
    texts = np.memmap(tmp_path / "zeros", dtype=np.uint8, mode="r")
    starts = np.arange(n + 1, dtype=np.int64) * row_bytes
    column = pyarrow.LargeStringArray.from_buffers(n, pyarrow.py_buffer(starts), pyarrow.py_buffer(texts))
    monkeypatch.setattr(PoolTable, "column", lambda table, name: column)
    rows = [build_row(i, f"ask {i}", "out", "f", {"license": "mit"}) for i in range(n)]
    pool = Pool(SelectConfig(), LoadedPool(rows, "f", None, "digest", []), RAW, "digest", np.ones(n, dtype=np.int32))
    fates = Fates.undecided(n).decide((i, "excluded", "too_long", f"{i} tokens") for i in range(n))
    vectors = Vectors(np.zeros(1, dtype=np.int64), np.ones((1, 2), dtype=np.float32), "digest")
    one = np.zeros(1, dtype=np.int32)
    prepared = Prepared(pool, Split((), fates), vectors, np.zeros(1, dtype=np.int64), one, vectors.matrix)
    table = decision_columns(prepared, fates)
    assert pyarrow.compute.binary_length(table.column("license")).to_pylist() == [row_bytes] * n
    assert table.column("fate").to_pylist() == ["excluded"] * n
    assert table.column("detail").to_pylist() == [f"{i} tokens" for i in range(n)]
    kinds = {field.name: str(field.type) for field in table.schema}
    assert {name for name, kind in kinds.items() if kind == "large_string"} == {
        "row_id", "fate", "reason", "detail", "source", "license",
    }  # fmt: skip
    assert "string" not in kinds.values()


def test_keep_where_excludes_the_others_before_anything_is_held_out(tmp_path: Path) -> None:
    assert select(tmp_path, "mit", "--keep-where", "license=mit,apache-2.0") == 0
    selection = read_selection(tmp_path / "mit")
    assert {row.extra["license"] for row in [*selection.selected, *selection.holdout]} == {"mit"}
    assert selection.manifest.counts["excluded.not_kept"] == 40
    assert "The license of every selected row: mit." in (tmp_path / "mit" / "README.md").read_text()
    again = SelectConfig(dataset="d", keep_where=("license=mit", "source=a,b"), system="keep", first=5).as_command()
    assert " ".join(again[4:]) == ("--first 5 --system keep --keep-where license=mit --keep-where source=a,b --k 1000")


def test_a_public_push_stops_where_the_licences_are_unknown_or_mixed(tmp_path: Path) -> None:
    assert license_doubt({"license": {"mit": 3}}) is None
    assert license_doubt({"license": {"mit": 3, "not said": 1}}) == "1 rows do not say their licence."
    assert license_doubt({"license": {"mit": 3, "bsd": 1}}) == "The rows have 2 licences (mit, bsd)."
    assert select(tmp_path, "s") == 0
    with pytest.raises(UserError, match="rows do not say their licence. Where all of them .*--any-license"):
        push_selection(read_selection(tmp_path / "s"), "me/rows", private=False)


def kept(path: Path, *conditions: str) -> list[int]:
    pool = load_rows(str(path), None, ReadOptions(keep_where=conditions))
    return [row.row_index for row in pool.rows if row.row_index not in pool.excluded]


def test_conditions_know_typed_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    frame = pandas.DataFrame({"instruction": list("abcd"), "output": list("wxyz"), "stars": [1, None, 3, 1]})
    frame["id"] = [7, None, 8, 9]
    frame["sizes"] = [[1, 2], [3], None, []]
    frame["raw"] = [b"mit", None, b"gpl", None]
    frame["day"] = pandas.to_datetime(["2024-01-02", None, None, "2024-01-03"]).date
    frame["fine"] = [True, False, None, True]
    frame["meta"] = [{"license": "mit"}, None, {"license": "gpl"}, None]
    frame.to_parquet(path)
    for condition, rows in {
        "stars=1": [0, 3], "stars=1.0": [0, 3], "sizes=3": [1], "sizes=1,2": [0], "raw=gpl": [2], "day=2024-01-03": [3],
        "fine=true": [0, 3], "meta.license=mit": [0], "Stars=3": [2],
    }.items():  # fmt: skip
        assert kept(path, condition) == rows, condition
    assert [row.extra.get("id") for row in load_rows(str(path)).rows] == ["7", None, "8", "9"]
    for condition, says in (
        ("meta=mit", f'the column "meta" of {path} holds structures. Name a field in it, such as --keep-where meta.FI'),
        ("star=1", f'{path} has no column "star" for --keep-where. Did you mean "stars"? Allowed: day, fine, id, '),
        ("stars=5", f"--keep-where stars keeps no row of {path}. Its values: 1 2, not said 1, 3 1"),
    ):
        with pytest.raises(UserError) as caught:
            kept(path, condition)
        assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("rows", "Write OWNER/NAME."),
        ("me/rows/x", "Write OWNER/NAME."),
        ("me/my rows", "Write OWNER/NAME."),
        ("https://huggingface.co/datasets/me/rows", "Write me/rows."),
    ],
)
def test_a_dry_run_refuses_a_name_that_the_hub_would_refuse(name: str, step: str, tmp_path: Path, capsys: Any) -> None:
    assert select(tmp_path, "s") == 0
    capsys.readouterr()
    assert main(["push", name, "--selection", str(tmp_path / "s"), "--dry-run"]) == 1
    assert capsys.readouterr().err == f'error: "{name}" is no name of a repository. {step}\n'
