"""Conversations of several rounds: read from every shape that holds them, or excluded with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UsageError, UserError
from curate.pool.dialogue import Dialogue, texts_of
from curate.pool.read_options import ReadOptions
from curate.sources import load_rows
from curate.sources.types import LoadedPool

TALK = [("a", "b"), ("c", "d")]
SPOKEN = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
MESSAGES = [{"role": role, "content": text} for role, text in SPOKEN]
SHAREGPT = [{"from": {"user": "human", "assistant": "gpt"}[role], "value": text} for role, text in SPOKEN]
BRIEF = {"role": "system", "content": "Be brief."}


def load(folder: Path, *records: Any, **options: Any) -> LoadedPool:
    (folder / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return load_rows(str(folder / "rows.jsonl"), None, ReadOptions(**options))


@pytest.mark.parametrize(
    "record",
    [
        {"messages": MESSAGES},
        {"conversations": SHAREGPT},
        {"conversations": [*SHAREGPT, {"from": "human", "value": "and?"}]},
        {"instruction": "c", "output": "d", "history": [["a", "b"]]},
        {"instruction": "c", "output": "d", "history": MESSAGES[:2]},
        {"prompt": MESSAGES[:3], "completion": MESSAGES[3:]},
        {"instruction": "x", "output": "y", "messages": MESSAGES},
    ],
    ids=lambda record: " ".join(record),
)
def test_every_shape_of_a_conversation_gives_its_rounds(record: dict[str, Any], tmp_path: Path) -> None:
    pool = load(tmp_path, record, {"instruction": "single", "output": "one"}, turns="last")
    assert texts_of(pool.rows[0]) == Dialogue(tuple(TALK))
    assert (pool.rows[0].instruction, pool.rows[0].output) == ("a\n\nb\n\nc", "d")
    assert texts_of(pool.rows[1]) == ("single", "one")
    assert pool.excluded == {}
    left = ["1 rows end with a question that has no answer; it is left out."]
    assert pool.notes == (left if len(record.get("conversations", [])) == 5 else [])


def test_a_conversation_of_one_round_is_the_row_that_it_is_without_turns(tmp_path: Path) -> None:
    record = {"messages": [BRIEF, *MESSAGES[:2]]}
    for system in ("drop", "keep"):
        single = load(tmp_path, record, system=system).rows[0]
        for turns in ("last", "all"):
            row = load(tmp_path, record, system=system, turns=turns).rows[0]
            assert (row.row_id, row.instruction, row.output) == (single.row_id, single.instruction, single.output)
    assert texts_of(row) == Dialogue((("a", "b"),), "Be brief.")


def test_a_system_message_of_a_conversation_is_dropped_kept_or_required(tmp_path: Path) -> None:
    records = [{"messages": [BRIEF, *MESSAGES]}, {"messages": MESSAGES}, {"system": "Be kind.", "messages": MESSAGES}]
    kept = load(tmp_path, *records, turns="all", system="keep")
    assert [dialogue.system for row in kept.rows if isinstance(dialogue := texts_of(row), Dialogue)] == [
        "Be brief.", "", "Be kind.",
    ]  # fmt: skip
    dropped = load(tmp_path, *records, turns="all")
    assert {texts_of(row) for row in dropped.rows} == {Dialogue(tuple(TALK))}
    assert dropped.notes == ["2 rows have a system message; it is not part of the instruction."]
    assert load(tmp_path, *records, turns="all", system="require").excluded == {
        1: ("no_system_message", "--system require")
    }


def test_what_is_no_conversation_in_turn_is_excluded_with_a_reason(tmp_path: Path) -> None:
    tool = {"role": "tool", "content": "3"}
    silent = {"role": "assistant", "content": " "}
    pool = load(
        tmp_path,
        {"messages": MESSAGES[1:]},
        {"messages": [*MESSAGES[:2], tool, MESSAGES[3]]},
        {"messages": [MESSAGES[0]]},
        {"messages": [MESSAGES[0], silent, *MESSAGES[2:]]},
        {"messages": [*MESSAGES[:2], BRIEF, *MESSAGES[2:]]},
        {"messages": MESSAGES},
        turns="all",
        system="keep",
    )
    assert pool.excluded == {
        0: ("turns_do_not_alternate", "assistant, user, assistant"),
        1: ("turns_do_not_alternate", "user, assistant, tool, assistant"),
        2: ("turns_do_not_alternate", "user"),
        3: ("empty_turn", "message 2 of 4"),
        4: ("turns_do_not_alternate", "user, assistant, system, user, assistant"),
    }
    assert pool.notes == ["5 rows are no questions and answers in turn and were excluded."]


def test_a_history_of_another_form_and_an_unknown_choice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'the field "history" is not a list of questions and answers. Write it as'):
        load(tmp_path, {"instruction": "c", "output": "d", "history": ["a", "b"]}, turns="last")
    with pytest.raises(UsageError, match='Unknown --turns "every"'):
        load(tmp_path, {"instruction": "c", "output": "d"}, turns="every")
