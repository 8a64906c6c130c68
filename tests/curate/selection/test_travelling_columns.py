"""Licence, language and ids travel from the source to what is written; the card says the mix."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow.parquet
import pytest

from curate.cli import main
from curate.config import SelectConfig
from curate.errors import UserError
from curate.selection.hub_upload import push_selection
from curate.selection.mix import license_doubt
from curate.selection.record import read_selection

ROWS = [
    {"instruction": f"print the word number {i} {'x' * (i % 5)}", "output": f"print({i}, 'word')", "id": i,
     "license": (None, "mit", "gpl-3.0")[i % 3], "source": "github" if i % 2 else None}
    for i in range(60)
]  # fmt: skip


def select(folder: Path, name: str, *more: str) -> int:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return main(
        ["select", "--dataset", str(folder / "rows.jsonl"), "--model", "smollm2-135m", "--encoder", "tfidf",
         "--near-duplicate", "1", "--strategy", "first", "--k", "15", "--holdout", "4", "--clean", "none",
         "--out", str(folder / name), *more]
    )  # fmt: skip


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
