"""Local files: every shape and format gives the same rows, and bad input one line that says where and what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from curate.errors import UsageError, UserError
from curate.pool.rows import build_row
from curate.sources import load_rows
from curate.sources.types import LoadedPool

PAIRS = [("Add two numbers.", "a + b"), ('Say "hi", politely.', 'print("hi")\nprint("please")')]
RECORDS = [{"instruction": instruction, "output": output} for instruction, output in PAIRS]


def pairs(pool: LoadedPool) -> list[tuple[str, str]]:
    return [(row.instruction, row.output) for row in pool.rows]


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def json_lines(records: list[dict[str, object]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def refusal(dataset: str, columns: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_rows(dataset, columns)
    assert caught.value.exit_code == 1
    return str(caught.value)


def formats(folder: Path) -> dict[str, str]:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), folder / "rows.parquet")
    csv = (
        'instruction,output\r\nAdd two numbers.,a + b\r\n"Say ""hi"", politely.","print(""hi"")\nprint(""please"")"\r\n'
    )
    return {
        "array": written(folder, "array.json", json.dumps(RECORDS, indent=1)),
        "data": written(folder, "data.json", json.dumps({"version": 1, "data": RECORDS})),
        "lines under .json": written(folder, "lines.json", json_lines(RECORDS)),
        "lines": written(folder, "rows.jsonl", json_lines(RECORDS)),
        "lines with BOM, CRLF and blank lines": written(
            folder, "windows.jsonl", b"\xef\xbb\xbf" + json_lines(RECORDS).replace("\n", "\r\n\r\n").encode()
        ),
        "csv": written(folder, "rows.csv", csv),
        "csv with BOM": written(folder, "bom.CSV", b"\xef\xbb\xbf" + csv.encode()),
        "parquet": str(folder / "rows.parquet"),
    }


def test_every_format_gives_the_same_rows_in_file_order(tmp_path: Path) -> None:
    expected = load_rows(written(tmp_path, "first.jsonl", json_lines(RECORDS)))
    assert pairs(expected) == PAIRS
    assert [row.row_index for row in expected.rows] == [0, 1]
    assert expected.rows[0].row_id == build_row(0, *PAIRS[0], source="").row_id
    for name, path in formats(tmp_path).items():
        pool = load_rows(path)
        assert (name, pairs(pool), pool.digest) == (name, PAIRS, expected.digest)
        assert [(record.file, record.rows) for record in pool.inputs] == [(Path(path).name, 2)]
        assert pool.revision is None and pool.excluded == {}


def test_a_folder_is_read_in_path_order_and_rows_are_counted_through(tmp_path: Path) -> None:
    written(tmp_path, "pool/b.jsonl", json_lines(RECORDS[:1]))
    written(tmp_path, "pool/a/z.json", json.dumps(RECORDS[1:]))
    written(tmp_path, "pool/.hidden/c.json", "broken")
    written(tmp_path, "pool/README.md", "not rows")
    pool = load_rows(str(tmp_path / "pool"))
    assert [(row.row_index, row.source, row.instruction) for row in pool.rows] == [
        (0, "a/z.json", PAIRS[1][0]),
        (1, "b.jsonl", PAIRS[0][0]),
    ]
    assert [record.file for record in pool.inputs] == ["a/z.json", "b.jsonl"]


def test_a_folder_inside_that_may_not_be_read_and_a_link_that_leads_nowhere_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "pool", "a.jsonl", json_lines([{"instruction": "q", "output": "a"}]))
    closed, link = tmp_path / "pool" / "closed", tmp_path / "pool" / "b.jsonl"
    link.symlink_to(tmp_path / "gone.jsonl")
    assert refusal(str(tmp_path / "pool")).startswith(f"Could not read {link}: No such file")
    link.unlink()
    written(closed, "c.jsonl", json_lines([{"instruction": "p", "output": "b"}]))
    scandir = os.scandir

    def refusing(path: str | Path) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert refusal(str(tmp_path / "pool")).startswith(f"The folder {closed} could not be read (Permission denied).")


def test_the_digest_of_a_pool_does_not_depend_on_the_order_of_its_rows(tmp_path: Path) -> None:
    one = load_rows(written(tmp_path, "one.jsonl", json_lines(RECORDS)))
    other = load_rows(written(tmp_path, "other.jsonl", json_lines(RECORDS[::-1])))
    assert one.digest == other.digest
    assert one.inputs[0].sha256 != other.inputs[0].sha256


def test_column_shapes_are_recognised_record_by_record(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [
        {"instruction": "Sum", "input": "1 2", "output": "3"},
        {"instruction": "Sum", "input": " ", "output": "0"},
        {"instruction": "Sum", "input": None, "output": "0"},
        {"output": "0", "instruction": "Sum", "id": 7},
        {"prompt": "Sum 1", "completion": "1"},
        {"messages": [{"role": "user", "content": "Sum 2"}, {"role": "assistant", "content": "2"}]},
    ]
    assert pairs(load_rows(written(tmp_path, "rows.jsonl", json_lines(records)))) == [
        ("Sum\n1 2", "3"),
        ("Sum", "0"),
        ("Sum", "0"),
        ("Sum", "0"),
        ("Sum 1", "1"),
        ("Sum 2", "2"),
    ]


def test_columns_can_be_named(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [{"q": "Why", "ctx": "here", "a": "so"}, {"q": "Who", "a": "me"}]
    path = written(tmp_path, "rows.jsonl", json_lines(records))
    assert pairs(load_rows(path, "instruction=q,output=a")) == [("Why", "so"), ("Who", "me")]
    assert pairs(load_rows(path, "instruction=q, output=a, input=ctx")) == [("Why\nhere", "so"), ("Who", "me")]
    assert refusal(path, "instruction=q,output=a,input=context").startswith(f'{path} has no column "context".')


def test_rows_of_several_turns_keep_their_place_and_are_excluded_with_a_reason(tmp_path: Path) -> None:
    user, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    system = {"role": "system", "content": "Be brief."}
    rows: list[dict[str, object]] = [
        {"messages": turns} for turns in ([user, answer], [user, answer] * 4, [system, user, answer], [user], None)
    ]
    pool = load_rows(written(tmp_path, "chat.jsonl", json_lines(rows)))
    assert [row.row_index for row in pool.rows] == [0, 1, 2, 3, 4]
    assert [pairs(pool)[i] for i in (0, 2)] == [("Hi", "Hello"), ("Hi", "Hello")]
    assert pool.excluded == {
        1: ("not_single_turn", "user, assistant, user, assistant, user, assistant, ... (8 messages)"),
        3: ("not_single_turn", "user"),
        4: ("not_single_turn", "no messages"),
    }
    assert pool.notes == [
        "3 rows are not one user and one assistant message and were excluded; --turns last or --turns all takes "
        "longer conversations.",
        "1 rows have a system message; it is not part of the instruction.",
    ]


def test_null_is_empty_text_and_any_other_type_is_an_error_that_names_the_row(tmp_path: Path) -> None:
    kept = written(tmp_path, "null.jsonl", '{"instruction": "a", "output": null}\n')
    assert pairs(load_rows(kept)) == [("a", "")]
    path = written(
        tmp_path, "number.jsonl", '{"instruction": "a", "output": "b"}\n\n{"instruction": "a", "output": 3}\n'
    )
    assert refusal(path).startswith(f'{path}:3: the field "output" is a int, not text.')
    number = {"role": "user", "content": 3}
    chat = written(tmp_path, "c.jsonl", json_lines([{"messages": [number, {"role": "assistant", "content": "x"}]}]))
    assert refusal(chat).startswith(f'{chat}:1: the field "content" is a int, not text.')
    scalar = written(tmp_path, "scalar.jsonl", json_lines([{"messages": "hi"}]))
    assert refusal(scalar).startswith(f'{scalar}:1: the field "messages" is not a list of messages.')


def test_long_rows_and_odd_characters_arrive_unchanged(tmp_path: Path) -> None:
    long, odd = "x" * 5_000_000, "tab\tnul\x00bell\x07sep\u2028\x85form\fend\rlone\ud800é😀"
    records: list[dict[str, object]] = [{"instruction": long, "output": odd}]
    assert pairs(load_rows(written(tmp_path, "rows.jsonl", json_lines(records)))) == [(long, odd)]
    raw = '{"instruction": "raw\ttab \x01 \u2028 \x85", "output": "b"}\n{"instruction": "c", "output": "d"}'
    assert pairs(load_rows(written(tmp_path, "raw.jsonl", raw))) == [("raw\ttab \x01 \u2028 \x85", "b"), ("c", "d")]
    table = written(tmp_path, "long.csv", f'instruction,output\n"{long}","a\rb\x01"\n')
    assert pairs(load_rows(table)) == [(long, "a\rb\x01")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", '{"instruction": "a", "output": "b"}\n{"instruction": "a", "outp', ":2: broken JSON (Unterminated"),
        ("a.jsonl", '{"instruction": "a", "output": "b"}\n[1]\n', ":2: a JSON list, not an object."),
        ("a.jsonl", "[" * 200_000, ":1: broken JSON ("),
        ("a.json", '[\n{"instruction": "a",\n "output" "b"}]', ":3: broken JSON (Expecting ':'"),
        ("a.json", "3", " holds a JSON int, not rows."),
        ("a.json", '{"data": 3}', " holds a JSON int, not rows."),
        ("a.json", "[3]", " row 1: a JSON int, not an object."),
        (
            "a.jsonl",
            b'{"instruction": "a"}\n{"instruction": "caf\xe9"}\n',
            ":2: not UTF-8 (byte 0xe9 at offset 41) but most likely WINDOWS-1252.",
        ),
        (
            "a.csv",
            b"\xef\xbb\xbfinstruction,output\ncaf\xe9,b\n",
            ":2: not UTF-8 (byte 0xe9 at offset 25), though",
        ),
        ("a.csv", 'instruction,output\na,b\n"c,d\n', ":3: broken CSV (unexpected end of data)."),
        ("a.csv", "instruction,output\na,b,c\n", ":2: more fields than the header has."),
        ("a.csv", "instruction,output\na\n", ":2: fewer fields than the header has."),
        ("a.csv", "instruction,output,output\na,b,c\n", ' has two columns named "output".'),
        ("a.csv", "instruction;output\na;b\n", " has semicolons between its columns, not commas."),
        ("a.jsonl.gz", b"\x1f\x8b", " cannot be unpacked (Compressed file ended"),
        (
            "a.jsonl.xz",
            b"\xfd7zXZ",
            ' has the ending ".xz", which is none of .json, .jsonl, .ndjson, .csv, ',
        ),
        ("a.parquet", "PAR1 no", " is not a Parquet file that can be read ("),
        ("a.jsonl", "", " holds no rows."),
        ("a.json", "", " holds no rows."),
        ("a.json", "[]", " holds no rows."),
        ("a.csv", "instruction,output\n", " holds no rows."),
        ("a.txt", "words", ' has the ending ".txt", which is none of .json, .jsonl, .ndjson, .csv, .parquet.'),
    ],
)
def test_bad_input_is_one_line_that_begins_with_the_place(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    path = written(tmp_path, name, content)
    message = refusal(path)
    assert message.startswith(path + says)
    assert "\n" not in message


def test_a_missing_column_is_named_with_the_ones_there_are_and_a_suggestion(tmp_path: Path) -> None:
    path = written(tmp_path, "rows.jsonl", json_lines([{"question": "q", "answer_text": "a", "id": "1"}]))
    assert refusal(path) == (
        f"{path}:1: no columns that are recognised. Its columns: question, answer_text, id. "
        "If these are the question and the answer: --columns instruction=question,output=answer_text"
    )
    assert refusal(path, "instruction=question,output=answer") == (
        f'{path}:1 has no column "answer". Its columns: question, answer_text, id. Did you mean "answer_text"?'
    )
    later = written(tmp_path, "later.jsonl", json_lines([*RECORDS, {"instruction": "only this"}]))
    assert refusal(later).startswith(f"{later}:3: no columns that are recognised")


@pytest.mark.parametrize("columns", ["", "instruction=a", "output=b", "instruction", "prompt=a,output=b", "input="])
def test_a_columns_option_that_is_wrong_in_itself_is_a_usage_error(columns: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_rows("stdlib", columns)
    assert "instruction=NAME,output=NAME[,input=NAME]" in str(caught.value)


@pytest.mark.parametrize("dataset", ["./rows", "/no/such", "~/no/such/rows", "rows.JSONL", "owner/name/rows"])
def test_what_is_written_like_a_path_is_never_looked_for_on_the_hub(dataset: str) -> None:
    assert "does not exist. Check the path; a hub dataset is written OWNER/NAME." in refusal(dataset)


def test_an_existing_path_is_read_even_where_it_looks_like_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "owner/name/rows.jsonl", json_lines(RECORDS))
    monkeypatch.chdir(tmp_path)
    assert pairs(load_rows("owner/name")) == PAIRS


def test_a_folder_without_rows_and_an_empty_name_are_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)).startswith(
        f"The folder {tmp_path} holds no .json, .jsonl, .ndjson, .csv, .parquet file."
    )
    assert refusal(" ").startswith("--dataset is empty.")


def test_the_shared_rows_are_all_read(shared_data: Path) -> None:
    pool = load_rows(str(shared_data / "codegen-4.5k.jsonl"))
    assert len(pool.rows) == 4535
    assert pool.excluded == {}
