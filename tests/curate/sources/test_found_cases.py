"""Files as people have them, from the shared cases: each gives its right rows, or an error that helps."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from curate.cleaning.table import CHECKS
from curate.errors import UserError
from curate.sources import load_rows

READ = {  # the number of rows with a second line in the instruction, and what is said
    "30-nan-input/rows.json": (30, []),
    "32-dolly-context/dolly.jsonl": (60, []),
    "32-dolly-context/mbpp_like.jsonl": (0, []),
    "33-sharegpt/messages_human.jsonl": (0, []),
    "33-sharegpt/sharegpt.json": (0, []),
    "33-sharegpt/sharegpt_system.jsonl": (0, ["60 rows have a system message; it is not part of the instruction."]),
    "36-pandas-orients/columns.json": (0, []),
    "36-pandas-orients/index.json": (0, []),
    "36-pandas-orients/lists.json": (0, []),
    "36-pandas-orients/split.json": (0, []),
    "36-pandas-orients/splits.json": (0, ["splits.json: the split train was read; not read: test."]),
    "38-header-blanks/rows.csv": (0, []),
    "42-noinput/rows.json": (
        0,
        [
            "60 rows say in a word that they have no input (<noinput> 15, N/A 15, nan 15, None 15); it is left out.",
        ],
    ),
    "43-csv-and-joined-files/data/crlf.jsonl": (0, []),
    "43-csv-and-joined-files/data/excel_utf8.csv": (30, []),
    "43-csv-and-joined-files/data/joined.jsonl": (0, []),
    "43-csv-and-joined-files/data/pandas_index.csv": (30, []),
    "43-csv-and-joined-files/data/sep_line.csv": (
        30,
        ['sep_line.csv: its first line "sep=," is Excel\'s and no row.'],
    ),
}
REFUSED = {
    "31-encodings/excel_ansi.csv": "most likely WINDOWS-1252",
    "31-encodings/powershell.jsonl": "is UTF-16: it begins with the byte order mark FF FE.",
    "31-encodings/unicode_text.csv": "is UTF-16: it begins with the byte order mark FF FE.",
    "35-duplicate-keys/rows.jsonl": ':60: the key "instruction" stands twice in one object',
    "43-csv-and-joined-files/data/semicolon.csv": "has semicolons between its columns, not commas.",
    "43-csv-and-joined-files/data/tabs.csv": "has tabs between its columns, not commas.",
}


@pytest.mark.parametrize("name", READ)
def test_a_file_of_sixty_rows_is_read_whole(name: str, shared_cases: Path) -> None:
    longer, notes = READ[name]
    pool = load_rows(str(shared_cases / name))
    assert (len(pool.rows), pool.excluded, pool.notes) == (60, {}, notes)
    assert sum("\n" in row.instruction.strip() for row in pool.rows) == longer
    assert sum(row.output.startswith("def ") for row in pool.rows) == (57 if name.startswith("42") else 60)
    assert all(row.instruction.startswith("Write a function that can ") for row in pool.rows)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_read_is_told_what_it_is(name: str, shared_cases: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_rows(str(shared_cases / name))
    assert REFUSED[name] in str(caught.value)


def test_the_command_for_the_files_of_windows_gives_the_apostrophe_back(shared_cases: Path, tmp_path: Path) -> None:
    for name in ("excel_ansi.csv", "powershell.jsonl", "unicode_text.csv"):
        path = tmp_path / name
        path.write_bytes((shared_cases / "31-encodings" / name).read_bytes())
        with pytest.raises(UserError) as caught:
            load_rows(str(path))
        command = str(caught.value).split("name the new file: ")[1]
        subprocess.run(command, shell=True, check=True)
        text = Path(shlex.split(command)[-1]).read_text(encoding="utf-8")
        assert text.count("Don’t") == (60 if name.endswith(".csv") else 0)
        assert "\u0092" not in text and "\0" not in text


def test_empty_answers_are_counted(shared_cases: Path) -> None:
    rows = load_rows(str(shared_cases / "42-noinput" / "rows.json")).rows
    found = CHECKS["empty"].load()(rows, [])
    assert [(index, detail) for index, _, detail in found] == [(1, '"nan"'), (2, '"N/A"'), (3, '"```python ```"')]


def test_the_parse_check_keeps_what_runs_somewhere(shared_cases: Path) -> None:
    rows = load_rows(str(shared_cases / "40-parse-check" / "rows.jsonl")).rows
    dropped = {index for index, _, _ in CHECKS["parse"].load()(rows, [])}
    assert {7, 15, 22} <= dropped <= {7, 10, 13, 15, 21, 22}
