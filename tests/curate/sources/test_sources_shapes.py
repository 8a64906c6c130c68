"""Records as people have them: shapes known by their names, tables any way round, and advice that works when pasted."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest

from curate.errors import UsageError, UserError
from curate.pool.read_options import ReadOptions
from curate.sources import load_rows
from curate.sources.types import LoadedPool

Q, A = "Add two numbers.", "a + b"
USER, ANSWER = {"role": "user", "content": Q}, {"role": "assistant", "content": A}
HUMAN, GPT = {"from": "human", "value": Q}, {"from": "gpt", "value": A}
PARTS = [{"type": "text", "text": "Add "}, {"type": "text", "text": "two numbers."}]


def pairs(pool: LoadedPool) -> list[tuple[str, str]]:
    return [(row.instruction, row.output) for row in pool.rows]


def load(folder: Path, *records: Any, columns: str | None = None, **options: Any) -> LoadedPool:
    (folder / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return load_rows(str(folder / "rows.jsonl"), columns, ReadOptions(**options))


def load_document(folder: Path, value: Any, name: str = "rows.json") -> LoadedPool:
    (folder / name).write_text(json.dumps(value))
    return load_rows(str(folder / name))


SHAPES: list[tuple[dict[str, Any], str]] = [
    ({"instruction": Q, "input": "", "output": A, "system": "", "history": []}, Q),
    ({"instruction": Q, "input": "1 2", "output": A, "history": None}, f"{Q}\n1 2"),
    ({"instruction": Q, "context": "", "response": A, "category": "open_qa"}, Q),
    ({"instruction": Q, "context": "They are small.", "response": A, "category": "closed_qa"}, f"{Q}\nThey are small."),
    ({"prompt": Q, "completion": A}, Q),
    ({"prompt": [USER], "completion": [ANSWER]}, Q),
    ({"prompt": [USER], "completion": A}, Q),
    ({"messages": [USER, ANSWER]}, Q),
    ({"messages": [{"role": "Human", "content": Q}, {"role": "gpt", "content": A}]}, Q),
    ({"messages": [{"role": "user", "content": PARTS}, ANSWER], "source": "x"}, Q),
    ({"messages": json.dumps([USER, ANSWER])}, Q),
    ({"id": "1", "conversations": [HUMAN, GPT]}, Q),
    ({"conversations": [{"from": "system", "value": "Be brief."}, HUMAN, GPT]}, Q),
    ({"conversation": [USER, ANSWER]}, Q),
    ({"query": Q, "answer": A, "resource": "evol", "lang": "python"}, Q),
    ({"question": Q, "answer": A}, Q),
    ({"question": Q, "context": "CREATE TABLE t", "answer": A}, f"{Q}\nCREATE TABLE t"),
    ({"system_prompt": "", "question": Q, "response": A}, Q),
    ({"lang": "python", "problem": Q, "solution": A, "seed": "x"}, Q),
    ({"id": "a", "question": Q, "r1_generation": A, "solution": "def", "judgement": "right"}, Q),
    ({"id": "a", "input": Q, "output": A, "source": "codeforces", "license": "cc-by-4.0", "split": "split_0"}, Q),
    ({"task_id": 3, "text": Q, "code": A, "test_list": ["assert add(1, 2) == 3"]}, Q),
    ({" Instruction ": Q, "OUTPUT": A}, Q),
    ({"conversations": [Q, A], "source": "multi_turn"}, Q),
    ({"conversation": [{"human": Q, "assistant": A}]}, Q),
    ({"conversations": [{"speaker": "human", "text": Q}, {"speaker": "ai", "text": A}]}, Q),
    ({"contents": [{"role": "user", "parts": [{"text": Q}]}, {"role": "model", "parts": [{"text": A}]}]}, Q),
    ({"messages": [{"role": "user", "content": ["Add two ", "numbers."]}, ANSWER]}, Q),
]


@pytest.mark.parametrize(("record", "instruction"), SHAPES, ids=[" ".join(record) for record, _ in SHAPES])
def test_a_shape_is_recognised_by_its_names(record: dict[str, Any], instruction: str, tmp_path: Path) -> None:
    pool = load(tmp_path, record)
    assert pairs(pool) == [(instruction, A)]
    assert pool.excluded == {}


def test_a_history_and_pictures_exclude_a_row_with_a_reason(tmp_path: Path) -> None:
    picture = {"role": "user", "content": [*PARTS, {"type": "image_url", "image_url": {"url": "x"}}]}
    pool = load(
        tmp_path,
        {"instruction": Q, "output": A, "history": [["Hi", "Hello"]]},
        {"messages": [picture, ANSWER]},
        {"conversations": [HUMAN, {"from": "tool", "value": "3"}, GPT]},
    )
    assert pool.excluded == {
        0: ("not_single_turn", "a history of 1 turns"),
        1: ("not_text", 'a part of type "image_url"'),
        2: ("not_single_turn", "user, tool, assistant"),
    }


@pytest.mark.parametrize(
    ("choice", "instructions", "excluded"),
    [
        ("drop", [Q, Q, Q], {}),
        ("keep", [f"Be brief.\n{Q}", f"Be kind.\n{Q}", Q], {}),
        ("require", [f"Be brief.\n{Q}", f"Be kind.\n{Q}"], {2: ("no_system_message", "--system require")}),
    ],
)
def test_a_system_message_is_dropped_kept_or_required(
    choice: str, instructions: list[str], excluded: dict[int, Any], tmp_path: Path
) -> None:
    brief = {"messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER]}
    kind = {"system": "Be kind.", "instruction": Q, "output": A}
    pool = load(tmp_path, brief, kind, {"messages": [USER, ANSWER]}, system=choice)
    assert [row.instruction for row in pool.rows if row.row_index not in pool.excluded] == instructions
    assert pool.excluded == excluded
    said = ["2 rows have a system message; it is not part of the instruction."]
    assert pool.notes == (said if choice == "drop" else [])


def test_a_context_that_columns_leaves_out_is_said(tmp_path: Path) -> None:
    records = [{"q": Q, "context": "Small.", "a": A}, {"q": Q, "context": None, "a": A}]
    assert load(tmp_path, *records, columns="instruction=q,output=a").notes == [
        '1 rows have text in the column "context", which --columns leaves out of the instruction.'
    ]
    assert load(tmp_path, *records, columns="instruction=q,output=a,input=context").notes == []


def test_columns_reach_into_nested_fields(tmp_path: Path) -> None:
    record = {"chat": [{"who": "me", "text": Q}, {"who": "you", "text": A}], "meta": {"a.b": 1}, "x.y": "dotted"}
    assert pairs(load(tmp_path, record, columns="instruction=chat.0.text,output=chat.-1.text")) == [(Q, A)]
    assert pairs(load(tmp_path, record, columns="instruction=x.y,output=chat.1.text")) == [("dotted", A)]
    for columns, says in (
        (
            "instruction=chat.0.txt,output=chat.1.text",
            'rows.jsonl:1: "chat.0" has no field "txt". Its fields: who, text.',
        ),
        ("instruction=chat.text,output=chat.1.text", 'rows.jsonl:1: "chat" is a list, in which there is no "text".'),
        ("instruction=talk.0,output=chat.1.text", 'rows.jsonl:1 has no column "talk.0". Its columns: chat, meta, x.y.'),
    ):
        with pytest.raises(UserError) as caught:
            load(tmp_path, record, columns=columns)
        assert says in str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        {"question": Q, "answer_text": A, "id": "1"},
        {"chat": [{"who": "me", "content": Q}, {"who": "you", "content": A}]},
        {"prompt": Q, "chosen": A, "rejected": "no"},
        {"chosen": [USER, ANSWER], "rejected": [USER, {"role": "assistant", "content": "no"}]},
        {"Question text": Q, "The answer": A},
        {"user": Q, "assistant": A},
        {"title": Q, "body": A},
        {"chat": [USER, ANSWER], "id": "1"},
        {"row": {"instruction": Q, "output": A}},
    ],
    ids=lambda record: " ".join(record),
)
def test_the_columns_an_error_proposes_work_when_pasted(record: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no columns that are recognised") as caught:
        load(tmp_path, record)
    _, pasted = str(caught.value).split("--columns ")
    (columns,) = shlex.split(pasted)
    assert pairs(load(tmp_path, record, columns=columns)) == [(Q, A)]


def test_a_record_without_two_texts_is_told_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Its columns: text. A row needs a question and an answer: write them as"):
        load(tmp_path, {"text": "one long text"})
    with pytest.raises(UserError, match="A name with a comma cannot be written in --columns: rename the two"):
        load(tmp_path, {"q,1": Q, "a": A})


def test_columns_may_name_a_conversation(tmp_path: Path) -> None:
    record = {"log": {"talk": [USER, ANSWER]}, "instruction": "x", "output": "y"}
    assert pairs(load(tmp_path, record, columns="messages=log.talk")) == [(Q, A)]
    with pytest.raises(UsageError, match="--columns names messages, and other columns beside them"):
        load(tmp_path, record, columns="messages=log.talk,output=output")


FRAME = pandas.DataFrame({"instruction": [Q, "Halve."], "output": [A, "a / 2"]}, index=["x", "y"])
ROWS = [{"instruction": Q, "output": A}, {"instruction": "Halve.", "output": "a / 2"}]
LAYOUTS = {
    **{
        orient: json.loads(FRAME.to_json(orient=orient)) for orient in ("columns", "index", "records", "split", "table")
    },
    "list": FRAME.to_dict("list"),
    "train": {"train": ROWS, "info": {"version": 1}},
    "data": {"version": "1", "data": ROWS},
    "examples": {"examples": ROWS},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_table_is_read_whichever_way_round_it_is_stored(name: str, tmp_path: Path) -> None:
    assert pairs(load_document(tmp_path, LAYOUTS[name])) == [(Q, A), ("Halve.", "a / 2")]


def test_a_list_under_the_ending_of_lines_is_read(tmp_path: Path) -> None:
    assert pairs(load_document(tmp_path, ROWS, "rows.jsonl")) == [(Q, A), ("Halve.", "a / 2")]
    assert pairs(load_document(tmp_path, ROWS, "rows.ndjson")) == [(Q, A), ("Halve.", "a / 2")]
    for name in ("train", "data", "columns", "split", "list"):
        assert pairs(load_document(tmp_path, LAYOUTS[name], "rows.jsonl")) == [(Q, A), ("Halve.", "a / 2")], name


def test_a_line_that_holds_a_list_beside_its_question_is_a_row_and_no_list_of_rows(tmp_path: Path) -> None:
    record = {"instruction": Q, "instances": [{"input": "", "output": A}]}
    with pytest.raises(UserError, match="--columns instruction=instruction,output=instances.0.output"):
        load(tmp_path, record)
    assert pairs(load(tmp_path, record, columns="instruction=instruction,output=instances.0.output")) == [(Q, A)]


def test_an_object_that_is_one_conversation_is_one_row(tmp_path: Path) -> None:
    assert pairs(load_document(tmp_path, {"messages": [USER, ANSWER]})) == [(Q, A)]
    assert pairs(load_document(tmp_path, {"prompt": [USER], "completion": [ANSWER]})) == [(Q, A)]
    assert pairs(load_document(tmp_path, {"messages": [[USER, ANSWER], [USER, ANSWER]]})) == [(Q, A), (Q, A)]


def test_of_several_splits_train_is_read_and_without_it_the_file_is_refused(tmp_path: Path) -> None:
    pool = load_document(tmp_path, {"train": ROWS[:1], "test": ROWS[1:]})
    assert pairs(pool) == [(Q, A)]
    assert pool.notes == ["rows.json: the split train was read; not read: test."]
    with pytest.raises(UserError, match=r"holds several lists of rows \(dev, test\) and no train"):
        load_document(tmp_path, {"dev": ROWS, "test": ROWS})
    with pytest.raises(UserError, match=r"columns of different lengths \(instruction 2, output 1\)"):
        load_document(tmp_path, {"instruction": [Q, Q], "output": [A]})
    with pytest.raises(UserError, match='row 1: a JSON list, not an object. .* orient="records"'):
        load_document(tmp_path, [[Q, A]])


def test_objects_over_several_lines_and_joined_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, indent=2) for row in ROWS))
    assert pairs(load_rows(str(path))) == [(Q, A), ("Halve.", "a / 2")]
    path.write_text("".join("\ufeff" + json.dumps(row) + "\n" for row in ROWS))
    assert pairs(load_rows(str(path))) == [(Q, A), ("Halve.", "a / 2")]


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.jsonl", '{"instruction": "a", "output": "b"}\n{"instruction": "a", "output": "b", "output": "c"}', ":2"),
        ("a.jsonl", '{"messages": [{"role": "user", "role": "assistant", "content": "a"}]}', ":1"),
        (
            "a.json",
            '[{"instruction": "a", "output": "b"}, {"instruction": "a", "output": "b", "output": "c"}]',
            " row 2",
        ),
        ("a.json", '{\n"data": [{"instruction": "a", "instruction": "b", "output": "c"}]}', " row 1"),
        ("a.json", '{"data": [{"instruction": "a", "output": "c"}], "data": []}', ""),
    ],
)
def test_a_key_with_two_values_is_refused_at_its_place(name: str, text: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_rows(str(path))
    assert str(caught.value).startswith(f'{path}{place}: the key "')
    assert "stands twice in one object, with different values." in str(caught.value)


def test_a_key_that_says_the_same_twice_and_nan_are_no_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a", "instruction": "a", "input": NaN, "output": "b", "system": NaN, "id": NaN}\n')
    assert pairs(load_rows(str(path))) == [("a", "b")]
    table = pyarrow.table({"instruction": ["a"], "input": [float("nan")], "output": ["b"]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert pairs(load_rows(str(tmp_path / "rows.parquet"))) == [("a", "b")]
    path.write_text('{"instruction": "a", "output": Infinity}\n')
    with pytest.raises(UserError, match='the field "output" is a float, not text'):
        load_rows(str(path))


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, names=["instruction", "output", "output"])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(UserError, match='has two columns named "output"'):
        load_rows(str(tmp_path / "rows.parquet"))


def test_an_input_that_says_there_is_none_is_left_out_and_counted(tmp_path: Path) -> None:
    words = ["<noinput>", "N/A", "nan", "None", "<noinput>", "none of it", "0"]
    pool = load(tmp_path, *({"instruction": Q, "input": word, "output": A} for word in words))
    assert [row.instruction for row in pool.rows] == [Q] * 5 + [f"{Q}\nnone of it", f"{Q}\n0"]
    assert pool.notes == [
        "5 rows say in a word that they have no input (<noinput> 2, N/A 1, nan 1, None 1); it is left out."
    ]


@pytest.mark.parametrize("word", ["NaT", "None.", "n.a.", "(none)", "nil", "-", "[]", "No input needed.", "< empty >"])
def test_other_words_for_no_input_are_no_input(word: str, tmp_path: Path) -> None:
    assert pairs(load(tmp_path, {"instruction": Q, "input": word, "output": A})) == [(Q, A)]


@pytest.mark.parametrize(
    ("question", "answer"), [("prompt", "completion"), ("prompt", "response"), ("problem", "solution")]
)
@pytest.mark.parametrize("about", ["input", "context"])
def test_what_a_question_is_about_is_part_of_it_in_every_shape(
    question: str, answer: str, about: str, tmp_path: Path
) -> None:
    pool = load(tmp_path, {question: Q, about: "3 and 4", answer: A})
    assert (pairs(pool), pool.notes) == ([(f"{Q}\n3 and 4", A)], [])


@pytest.mark.parametrize(("record", "left"), [({"input": "3"}, "context"), ({}, "passage")])
def test_a_context_that_a_shape_has_no_place_for_is_said(record: dict[str, str], left: str, tmp_path: Path) -> None:
    pool = load(tmp_path, {"instruction": Q, **record, left: "Small.", "output": A}, {"instruction": Q, "output": A})
    assert pool.notes == [
        f'1 rows have text in the column "{left}", which this shape of rows leaves out of the instruction.'
    ]


def test_a_value_that_pandas_had_none_for_is_no_text_that_was_left_out(tmp_path: Path) -> None:
    records = [{"q": Q, "context": float("nan"), "a": A}] * 2
    assert load(tmp_path, *records, columns="instruction=q,output=a").notes == []


def test_a_proposed_value_of_columns_keeps_the_input(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--columns instruction=task,output=target,input=input"):
        load(tmp_path, {"task": Q, "input": "3", "target": A})


@pytest.mark.parametrize("mark", ["\u200b", "\ufeff", "\u00a0"])
def test_marks_that_nobody_sees_are_no_part_of_a_name(mark: str, tmp_path: Path) -> None:
    assert pairs(load(tmp_path, {f"{mark}Instruction": Q, f"Output{mark}": A})) == [(Q, A)]


TEXTS = {
    "WINDOWS-1252": ("cp1252", "Don’t use “loops” – für größere Zahlen."),
    "MACINTOSH": ("mac_roman", "Don’t use “loops” – pour l’été où ça naît."),
    "CP850": ("cp850", "Écris une fonction déjà triée où ça naît, l'été."),
    "WINDOWS-1250": ("cp1250", "Napisz funkcję sortującą listę, żółć i gęś."),
    "ISO-8859-2": ("iso8859_2", "Napisz funkcję sortującą listę, źródło i gęś."),
    "WINDOWS-1254": ("cp1254", "Bir liste sıralayan işlev yaz, ağaç ve değişken."),
    "KOI8-R": ("koi8_r", "Напишите функцию, которая сортирует список чисел."),
    "CP866": ("cp866", "Напишите функцию, которая сортирует список чисел."),
    "WINDOWS-1253": ("cp1253", "Γράψε μια συνάρτηση ταξινόμησης λίστας, παράδειγμα."),
    "BIG5": ("big5", "請寫一個函數，對列表進行排序。返回結果。"),
    "EUC-KR": ("euc_kr", "목록을 정렬하는 함수를 작성하십시오."),
    "WINDOWS-1251": ("cp1251", "Напишите функцию, которая сортирует список чисел по возрастанию."),
    "GB18030": ("gb18030", "请写一个函数，对列表进行排序。返回结果。"),
    "CP932": ("shift_jis", "リストをソートする関数を書いてください。"),
    "UTF-16": ("utf-16", "Don’t use “loops”."),
    "UTF-16LE": ("utf-16-le", "Don’t use “loops”."),
    "UTF-16BE": ("utf-16-be", "Don’t use “loops”."),
    "UTF-32": ("utf-32", "Don’t use “loops”."),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_command_for_a_file_in_another_encoding_gives_its_text_back(name: str, ending: str, tmp_path: Path) -> None:
    codec, text = TEXTS[name]
    csv = "instruction,output\r\n" + f'"{text}",print(1)\r\n' * 20
    lines = (json.dumps({"instruction": text, "output": "print(1)"}, ensure_ascii=False) + "\n") * 20
    path = tmp_path / f"my rows.{ending}"
    path.write_bytes((csv if ending == "csv" else lines).encode(codec))
    with pytest.raises(UserError) as caught:
        load_rows(str(path))
    _, command = str(caught.value).split("name the new file: ")
    assert f"iconv -f {name} -t UTF-8" in command
    subprocess.run(command, shell=True, check=True)
    assert pairs(load_rows(shlex.split(command)[-1])) == [(text, "print(1)")] * 20


def test_a_broken_byte_in_a_file_of_utf8_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps({"instruction": "größer", "output": "é"}, ensure_ascii=False).encode()
    path.write_bytes(good + b'\n{"instruction": "caf\xe9", "output": "x"}\n' + good)
    with pytest.raises(UserError, match=r"rows.jsonl:2: not UTF-8 \(byte 0xe9 at offset .*, though the rest is."):
        load_rows(str(path))


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_the_command_for_other_separators_gives_the_rows(separator: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    frame = pandas.DataFrame({"instruction": [Q, "nan"], "output": ["a\nb, c", "NA"]})
    frame.to_csv(path, sep=separator, index=False)
    with pytest.raises(UserError, match=f"has {name} between its columns, not commas") as caught:
        load_rows(str(path))
    command = str(caught.value).split("name the new file: python ")[1]
    subprocess.run([sys.executable, *shlex.split(command)], check=True)
    assert pairs(load_rows(str(tmp_path / "rows.commas.csv"))) == [(Q, "a\nb, c"), ("nan", "NA")]


def test_csv_as_spreadsheets_and_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for text in (
        f" Instruction , Output\r\n{Q},{A}\r\n",
        f"sep=,\r\ninstruction,output\r\n{Q},{A}\r\n",
        f"sep=;\ninstruction;output\n{Q};{A}\n",
        f',instruction,output\n0,"{Q}",{A}\n',
        f"\n\ninstruction,output\n\n{Q},{A}\n\n",
        f'"instruction ", "output"\n"{Q}", "{A}"\n',
    ):
        path.write_text(text)
        assert pairs(load_rows(str(path))) == [(Q, A)]
    path.write_text(f"instruction,output\n{Q},{A}\n\ufeffinstruction,output\n{Q},{A}\n")
    with pytest.raises(UserError, match="rows.csv:3: the header again: two files were joined here."):
        load_rows(str(path))


def test_columns_travel_and_rows_can_be_kept_by_them(tmp_path: Path) -> None:
    records = [
        {"id": 7, "instruction": Q, "output": A, "license": "MIT", "lang": "python", "source": "github"},
        {"id": 8, "instruction": Q, "output": "b", "license": ["gpl-3.0", "mit"], "category": "x"},
        {"id": 9, "instruction": Q, "output": "c", "license": None},
    ]
    pool = load(tmp_path, *records)
    assert [(row.source, dict(row.extra)) for row in pool.rows] == [
        ("github", {"license": "MIT", "language": "python", "id": "7"}),
        ("rows.jsonl", {"license": "gpl-3.0, mit", "id": "8"}),
        ("rows.jsonl", {"id": "9"}),
    ]
    kept = load(tmp_path, *records, keep_where=("license=mit,apache-2.0",))
    assert kept.excluded == {1: ("not_kept", "license gpl-3.0, mit"), 2: ("not_kept", "license not said")}
    assert kept.digest == pool.digest
    assert list(load(tmp_path, *records, keep_where=("category=X",)).excluded) == [0, 2]
    assert list(load(tmp_path, *records, keep_where=("source=github", "language=python")).excluded) == [1, 2]
    with pytest.raises(UserError, match="--keep-where license keeps no row of .* Its values: MIT 1, "):
        load(tmp_path, *records, keep_where=("license=bsd",))
    with pytest.raises(UserError, match='has no column "licens" for --keep-where'):
        load(tmp_path, *records, keep_where=("licens=mit",))
    for wrong in ("license", "license=", "=mit"):
        with pytest.raises(UsageError, match=r"Write NAME=VALUE\[,VALUE...\]"):
            load(tmp_path, *records, keep_where=(wrong,))
