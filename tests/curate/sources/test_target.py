"""What `--target` reads: rows, instructions alone, conversations as the pool's; never a row that says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UserError
from curate.pool.read_options import ReadOptions
from curate.sources.target import load_target, target_notes


def written(tmp_path: Path, *rows: Any) -> str:
    path = tmp_path / "wanted.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def talk(*texts: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]}


def test_conversations_are_read_as_those_of_the_pool(tmp_path: Path) -> None:
    source = written(tmp_path, talk("a", "b", "c", "d"), talk("e", "f"), talk("g", "h", "i", "j"))
    rows = list(load_target(source, ReadOptions(turns="all")).rows)
    assert [row.output for row in rows] == ["d", "f", "j"]
    assert json.loads(rows[0].extra["messages"])[0]["content"] == "a"
    single = load_target(source)
    assert [(row.row_index, row.instruction, row.output) for row in single.rows] == [(0, "e", "f")]
    assert target_notes(single) == ["2 of the 3 rows of --target are left out: not_single_turn 2."]


def test_a_system_message_is_read_as_the_pools(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, *talk("a", "b")["messages"]]
    source = written(tmp_path, {"messages": turns})
    assert [row.instruction for row in load_target(source, ReadOptions(system="keep")).rows] == ["Be brief.\na"]
    assert [row.instruction for row in load_target(source).rows] == ["a"]


@pytest.mark.parametrize(
    ("rows", "sentence", "step"),
    [
        ([talk("a", "b", "c", "d")], r"can be used \(not_single_turn 1\)", "--turns last or --turns all takes"),
        ([{"instruction": " ", "output": ""}] * 2, r"can be used \(blank 2\)", "Name rows that say something"),
        ([{"query": "a", "reply": "b"}], "no columns that are recognised", "name them instruction and output in the"),
    ],
)
def test_a_target_that_says_nothing_is_refused_with_a_step_that_can_be_taken(
    rows: list[Any], sentence: str, step: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        load_target(written(tmp_path, *rows))
    assert step in caught.value.next_step


def test_blank_rows_among_others_are_left_out_and_instructions_alone_are_taken(tmp_path: Path) -> None:
    target = load_target(written(tmp_path, {"instruction": ""}, {"instruction": "Sort."}))
    assert [row.instruction for row in target.rows] == ["Sort."]
    assert target_notes(target)[0] == "1 of the 2 rows of --target are left out: blank 1."


def test_an_artifact_or_an_empty_name_is_told_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "manifest.json").write_text('{"schema": "curate.selection/2"}')
    (tmp_path / "s" / "selected.jsonl").write_text("{}")
    with pytest.raises(UserError, match="--target .*/s/selected.jsonl"):
        load_target(str(tmp_path / "s"))
    with pytest.raises(UserError, match="--target is empty"):
        load_target(" ")
