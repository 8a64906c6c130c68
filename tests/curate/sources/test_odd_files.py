"""Files as a stranger has them: odd shapes are read or told, and no advice leads to the next error."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest

from curate.errors import UserError
from curate.pool.read_options import ReadOptions
from curate.sources import load_rows
from curate.sources.types import LoadedPool

Q, A = "Add two numbers.", "a + b"
USER, ANSWER = {"role": "user", "content": Q}, {"role": "assistant", "content": A}
ROWS = [{"instruction": Q, "output": A}, {"instruction": "Halve.", "output": "a / 2"}]
FRAGEN = [{"frage": Q, "antwort": A}, {"frage": "Halve.", "antwort": "a / 2"}]
NAMED = "instruction=frage,output=antwort"
PAIRS = [(Q, A), ("Halve.", "a / 2")]


def pairs(pool: LoadedPool) -> list[tuple[str, str]]:
    return [(row.instruction, row.output) for row in pool.rows]


def load(path: Path, text: str, columns: str | None = None, **options: Any) -> LoadedPool:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return load_rows(str(path), columns, ReadOptions(**options))


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def refusal(path: Path, columns: str | None = None, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_rows(str(path), columns, ReadOptions(**options))
    return str(caught.value)


def test_a_history_in_a_cell_is_read_and_an_empty_one_is_none(tmp_path: Path) -> None:
    table = pandas.DataFrame([row | {"history": "[]"} for row in ROWS])
    assert pairs(load(tmp_path / "a.csv", table.to_csv(index=False))) == PAIRS
    table["history"] = json.dumps([["Hi", "Hello"]])
    single = load(tmp_path / "b.csv", table.to_csv(index=False))
    assert single.excluded == dict.fromkeys(range(2), ("not_single_turn", "a history of 1 turns"))
    talk = load(tmp_path / "b.csv", table.to_csv(index=False), turns="last")
    assert pairs(talk)[0] == (f"Hi\n\nHello\n\n{Q}", A)


@pytest.mark.parametrize("history", [5, {"a": "b"}, "[['Hi', 'Hello']]", [["one"]], "earlier talk"])
@pytest.mark.parametrize("turns", ["single", "last"])
def test_a_history_of_another_form_is_an_error_whatever_is_made_of_turns(
    history: Any, turns: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r'rows.jsonl:1: the field "history" (is not a list|holds messages as text)'):
        load(tmp_path / "rows.jsonl", lines({**ROWS[0], "history": history}), turns=turns)


def test_messages_of_prompt_and_completion_may_stand_in_cells(tmp_path: Path) -> None:
    cells = {"prompt": json.dumps([USER]), "completion": json.dumps([ANSWER])}
    table = pandas.DataFrame([cells])
    assert pairs(load(tmp_path / "rows.csv", table.to_csv(index=False))) == [(Q, A)]
    assert pairs(load(tmp_path / "rows.jsonl", lines({"prompt": cells["prompt"], "completion": A}))) == [(Q, A)]
    talk = json.dumps([USER, ANSWER, {"content": "And?", "role": "user"}])
    pool = load(tmp_path / "rows.jsonl", lines({"prompt": talk, "completion": A}), turns="all")
    assert pairs(pool) == [(f"{Q}\n\n{A}\n\nAnd?", A)]
    as_python = pandas.DataFrame([{"prompt": [USER], "completion": [ANSWER]}]).to_csv(index=False)
    with pytest.raises(UserError, match='the field "prompt" holds messages as text that is not JSON'):
        load(tmp_path / "rows.csv", as_python)


def test_an_answer_that_looks_like_messages_is_an_answer(tmp_path: Path) -> None:
    answer = json.dumps([USER])
    assert pairs(load(tmp_path / "a.jsonl", lines({"prompt": Q, "completion": answer}))) == [(Q, answer)]
    assert pairs(load(tmp_path / "a.jsonl", lines({"prompt": [USER], "completion": answer}))) == [(Q, answer)]
    route = json.dumps([{"from": "Paris", "to": "Rome"}])
    assert pairs(load(tmp_path / "a.jsonl", lines({"prompt": route, "completion": A}))) == [(route, A)]


@pytest.mark.parametrize("turns", ["single", "last"])
def test_rows_of_several_shapes_in_one_table_are_each_read_by_their_own(turns: str, tmp_path: Path) -> None:
    records = [
        {"instruction": Q, "output": A},
        {"messages": [USER, ANSWER]},
        {"prompt": "Halve.", "completion": "a / 2"},
        {"instruction": "", "output": " ", "messages": [], "prompt": "", "completion": ""},
    ]
    path = tmp_path / "rows.parquet"
    pandas.DataFrame(records).to_parquet(path)
    pool = load_rows(str(path), None, ReadOptions(turns=turns))
    assert pairs(pool)[:3] == [(Q, A), (Q, A), ("Halve.", "a / 2")]
    assert pairs(pool)[3] in (("", " "), ("[]", ""))


def test_an_answer_that_was_rejected_is_no_row_to_learn(tmp_path: Path) -> None:
    records = [{"prompt": Q, "completion": A, "label": label} for label in (True, False, None)]
    pool = load(tmp_path / "rows.jsonl", lines(*records))
    assert pool.excluded == {1: ("rejected_answer", "label false")}
    assert pool.notes == ["1 rows have an answer that was rejected (label false) and were excluded."]
    assert load(tmp_path / "rows.jsonl", lines({**ROWS[0], "label": False})).excluded == {}


def test_what_messages_have_beside_their_text_is_said(tmp_path: Path) -> None:
    thought = {"messages": [{**USER, "weight": 0}, {**ANSWER, "reasoning_content": "hm", "weight": 1}]}
    unweighted = {"messages": [USER, {**ANSWER, "weight": 0}]}
    pool = load(tmp_path / "rows.jsonl", lines(thought, unweighted, unweighted))
    assert pairs(pool) == [(Q, A)] * 3
    assert pool.notes == [
        '1 messages have "reasoning_content", which is not read.',
        '2 messages have "weight 0", which is not read.',
    ]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("orient", ["records", "index", "columns", "split", "table", "list", "train"])
def test_a_table_of_any_names_is_read_by_columns_and_the_advice_without_them_works(
    name: str, orient: str, tmp_path: Path
) -> None:
    frame, path = pandas.DataFrame(FRAGEN), tmp_path / name
    as_is = {"list": json.dumps(frame.to_dict("list")), "train": json.dumps({"train": FRAGEN})}
    text = as_is.get(orient) or str(frame.to_json(orient=orient))
    assert pairs(load(path, text, NAMED)) == PAIRS
    (columns,) = shlex.split(refusal(path).split("--columns ")[1])
    assert pairs(load_rows(str(path), columns)) == PAIRS


def test_pandas_rows_under_their_index_may_have_the_ending_of_lines(tmp_path: Path) -> None:
    text = pandas.DataFrame(ROWS).to_json(orient="index")
    assert pairs(load(tmp_path / "rows.jsonl", text)) == PAIRS


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        ({"a": {"text": Q}, "b": {"text": A}}, "instruction=a.text,output=b.text"),
        ({"questions": [Q], "answers": [A]}, "instruction=questions.0,output=answers.0"),
        ({"questions": [Q], "answers": [A, "or"]}, "instruction=questions.0,output=answers.0"),
    ],
)
def test_a_line_of_structures_is_a_row_where_columns_lead_into_them(
    record: dict[str, Any], columns: str, tmp_path: Path
) -> None:
    assert pairs(load(tmp_path / "rows.jsonl", lines(record), columns)) == [(Q, A)]


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", "[]"), ("a.json", '{"train": []}'), ("a.jsonl", '{"rows": []}')]
)
def test_an_empty_list_of_rows_is_told_as_that(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name} holds no rows"):
        load(tmp_path / name, text)


def test_conversations_without_a_name_are_told_the_one_that_is_wanted(tmp_path: Path) -> None:
    for name, text in (("a.json", json.dumps([[USER, ANSWER]])), ("a.jsonl", lines(*[[USER, ANSWER]] * 2))):
        with pytest.raises(UserError, match=r'Write every conversation as an object: \{"messages": \[...\]\}'):
            load(tmp_path / name, text)
    with pytest.raises(UserError, match=r"These are single messages: write a conversation as one row"):
        load(tmp_path / "a.json", json.dumps([USER, ANSWER]))


def test_a_later_row_with_other_names_is_never_told_to_name_columns_for_all(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path / "rows.jsonl", lines(ROWS[0], {"instruction": Q, "ouput": A}))
    assert str(caught.value).endswith(
        "Its columns: instruction, ouput. What stands before it was read by instruction and output. "
        'Rename "ouput" to "output", or leave it out.'
    )
    load(tmp_path / "pool" / "a.jsonl", lines(*ROWS))
    with pytest.raises(UserError):
        load(tmp_path / "pool" / "b.jsonl", lines(*FRAGEN))
    assert refusal(tmp_path / "pool").endswith(
        "no columns that are recognised. A file without rows has to leave the folder. Its columns: frage, antwort. "
        "What stands before it was read by instruction and output. Give it those names, or leave it out."
    )


@pytest.mark.parametrize(
    "record",
    [
        {"question": Q, "answer": {"text": A, "start": [1]}},
        {"prompt": {"parts": [Q]}, "completion": A},
        {"problem": Q, "solution": {"choices": [{"text": A}]}},
    ],
)
def test_a_structure_where_text_belongs_is_told_the_columns_that_read_it(
    record: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(lines(record))
    (columns,) = shlex.split(refusal(path).split("If the text is in a field of it: --columns ")[1])
    assert pairs(load_rows(str(path), columns)) == [(Q, A)]


@pytest.mark.parametrize(
    "text",
    [
        f'"sep=;"\ninstruction;output\n{Q};{A}\n',
        f"sep=,,\ninstruction,output\n{Q},{A}\n",
        f"instruction,output,,\n{Q},{A},,\n",
        f"instruction,output\n{Q},{A},,\n",
    ],
)
def test_what_excel_leaves_in_a_table_is_read_past(text: str, tmp_path: Path) -> None:
    assert pairs(load(tmp_path / "rows.csv", text)) == [(Q, A)]


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_quoted_names_with_another_sign_between_them_get_the_command_that_converts(
    sign: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f'"instruction"{sign}"output"\n"{Q}"{sign}"{A}"\n')
    message = refusal(path)
    assert f"rows.csv has {name} between its columns, not commas." in message
    _, option, code = shlex.split(message.split("name the new file: ")[1])
    subprocess.run([sys.executable, option, code], check=True)
    assert pairs(load_rows(str(tmp_path / "rows.commas.csv"))) == [(Q, A)]


def test_a_table_without_names_is_told_to_give_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="If these are no names but a row, put a first line before it: instruction,out"):
        load(tmp_path / "rows.csv", f"Write a sum of two,{A}\nWrite a half,{A}\n")


@pytest.mark.parametrize("splits", [False, True])
def test_what_save_to_disk_wrote_gets_the_command_that_makes_rows_of_it(splits: bool, tmp_path: Path) -> None:
    saved = datasets.Dataset.from_list(ROWS)
    (datasets.DatasetDict(train=saved) if splits else saved).save_to_disk(str(tmp_path / "saved"))
    _, option, code = shlex.split(refusal(tmp_path / "saved").split("name that: ")[1])
    subprocess.run([sys.executable, option, code], check=True, env=os.environ | {"HF_DATASETS_OFFLINE": "1"})
    assert pairs(load_rows(str(tmp_path / "saved.parquet"))) == PAIRS


def test_a_folder_says_what_it_does_not_read_and_that_splits_are_read_as_one(tmp_path: Path) -> None:
    for name in ("train.jsonl", "test.jsonl", "more.tsv", "old.zst", "README.md"):
        (tmp_path / "pool").mkdir(exist_ok=True)
        (tmp_path / "pool" / name).write_text(lines(*ROWS))
    folder = tmp_path / "pool"
    assert load_rows(str(folder)).notes == [
        f"Not read in the folder {folder}, because of their endings: .tsv 1, .zst 1.",
        "The files of several splits (test, train) are read as one; for train alone name it: "
        f"--dataset {folder}/train.jsonl",
    ]
    (folder / "train-2.jsonl").write_text(lines(*ROWS))
    assert load_rows(str(folder)).notes[1].endswith("for train alone give it a folder of its own")


def test_our_own_artifacts_in_a_folder_are_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROWPICK_HOME", raising=False)
    (tmp_path / "rows.jsonl").write_text(lines(*ROWS))
    for folder in ("artifacts/selections/s", "here"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "selected.jsonl").write_text(lines({"instruction": "x", "output": "y"}))
        (tmp_path / folder / "manifest.json").write_text('{"schema": "curate.selection/2"}')
    pool = load_rows(".")
    assert (pairs(pool), pool.source) == (PAIRS, tmp_path.name)
    assert refusal(Path("here")) == (
        "The folder here is an artifact of ours (curate.selection/2), with more in it than rows. "
        "Name its rows: --dataset here/selected.jsonl"
    )
