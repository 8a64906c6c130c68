"""What `evalsuite score` says about files that are wrong, huge, torn or not text; nothing is half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.errors import UserError
from evaluate_suite.answers.answer_files import read_answers
from evaluate_suite.cli import main as evalsuite
from evaluate_suite.generation.raw_prompts import load_raw_prompts
from evaluate_suite.tasks.task_files import read_tasks
from evaluate_suite.training_curve.readers import read_history

GOOD = b'{"prompt": "reverse a list", "completion": "x[::-1]"}\n'
WRONG = {
    "empty file": (b"", "holds no generations"),
    "only blank lines": (b"\n\n", "holds no generations"),
    "wrong fields": (b'{"question": "a", "answer": "b"}\n', "no field completion (fields found: question, answer)"),
    "cut in the middle": (GOOD + b'{"prompt": "a", "compl', ":2: not a line of JSON"),
    "bytes that are no text": (GOOD + b'{"prompt": "a", "completion": "\xff\xfe"}\n', ":2: byte 32 is not UTF-8"),
    "nested too deeply": (b'{"prompt": "a", "completion": ' + b"[" * 100_000 + b"\n", ":1: not a line of JSON"),
    "a text for a number": (GOOD[:-2] + b', "new_tokens": "five"}\n', ":1: the field new_tokens is not a whole number"),
    "one sample twice": (
        b'{"task_id": "a", "sample": 0, "completion": "x"}\n{"task_id": "a", "sample": 1, "completion": "x"}\n'
        b'{"task_id": "a", "sample": 0, "completion": "x"}\n',
        ":3: sample 0 of a stands at",
    ),
    "a number for a text": (b'{"prompt": "a", "completion": 3}\n', "the field completion is a int, not text"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_line_exit_1_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    data, message = WRONG[case]
    (tmp_path / "g.jsonl").write_bytes(data)
    assert evalsuite(["score", str(tmp_path / "g.jsonl"), "--out", str(tmp_path / "out.jsonl")]) == 1
    told = capsys.readouterr()
    assert message in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["g.jsonl"]


def test_empty_texts_lines_of_100_kb_and_lone_surrogates_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["", "   ", "a" * 100_000, "def f():\n    return '\\ud800'\n", "\ud800", "x = 1\n" * 20_000]
    rows = [{"prompt": "python function f", "completion": text, "stop_reason": "end_token"} for text in texts]
    (tmp_path / "g.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evalsuite(["score", str(tmp_path / "g.jsonl"), "--out", str(tmp_path / "o.jsonl"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["generations"] == 6
    assert record["metrics"]["answered"]["mean"] == pytest.approx(3 / 6)
    assert record["metrics"]["trailing_share"]["reasons"] == {"empty": 2}
    assert len((tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()) == 6


def test_scores_are_never_written_over_the_generations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.jsonl").write_bytes(GOOD)
    assert evalsuite(["score", str(tmp_path / "g.jsonl"), "--out", str(tmp_path / "x" / ".." / "g.jsonl")]) == 2
    assert "is the file of the generations" in capsys.readouterr().err
    assert (tmp_path / "g.jsonl").read_bytes() == GOOD


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.jsonl").write_bytes(GOOD)
    (tmp_path / "file").write_text("")
    assert evalsuite(["score", str(tmp_path / "g.jsonl"), "--out", str(tmp_path / "file" / "o.jsonl")]) == 1
    assert "Could not write" in capsys.readouterr().err


def test_an_absent_file_and_a_folder_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evalsuite(["score", str(tmp_path / "none.jsonl")]) == 1
    assert evalsuite(["score", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path}/none.jsonl does not exist. Check the path.",
        f"error: {tmp_path} is a folder. Name a file.",
    ]


@pytest.mark.parametrize("read", [read_answers, load_raw_prompts, read_tasks, read_history])
def test_an_address_in_the_place_of_a_file_is_told_as_one(read: Callable[[Path], object]) -> None:
    with pytest.raises(UserError) as caught:
        read(Path("s3://bucket/folder/file.jsonl"))
    assert str(caught.value) == (
        "s3://bucket/folder/file.jsonl is an address, and a file of this machine is wanted. "
        "Download it and name the copy; --dataset, --target and --decontaminate take addresses."
    )
