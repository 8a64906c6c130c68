"""Loss histories from every file people have them in, and one clear line for what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.errors import UserError
from evaluate_suite.cli import main as evalsuite
from evaluate_suite.training_curve.readers import read_history
from evaluate_suite.training_curve.rules import HistoryPoint

EXPECTED = [HistoryPoint(1, 2.5, None), HistoryPoint(2, None, 2.0)]
ROWS = [{"step": 1, "train_loss": 2.5, "eval_loss": None}, {"step": 2, "train_loss": None, "eval_loss": 2.0}]
STATE = {
    "global_step": 2,
    "log_history": [
        {"epoch": 0.5, "grad_norm": 1.0, "learning_rate": 1e-4, "loss": 2.5, "step": 1},
        {"epoch": 1.0, "eval_loss": 2.0, "eval_runtime": 1.0, "step": 2},
        {"epoch": 1.0, "step": 2, "total_flos": 1.0, "train_loss": 7.0, "train_runtime": 1.0},
    ],
}
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FILES = {
    "history.jsonl": LINES,
    "h.csv": "step,train_loss,eval_loss\n1,2.5,\n2,,2.0\n",
    "excel.csv": "\ufeffStep,Training Loss,Validation Loss\r\n1,2.5,No log\r\n2,No log,2.0\r\n",
    "h.tsv": "step\ttrain_loss\teval_loss\n1\t2.5\t\n2\t\t2.0\n",
    "rows.json": json.dumps(ROWS),
    "columns.json": json.dumps({"step": [1, 2], "train_loss": [2.5, None], "eval_loss": [None, 2.0]}),
    "trainer_state.json": json.dumps(STATE),
    "wandb.jsonl": '{"_step": 1, "train/loss": 2.5}\n{"_step": 2, "eval/loss": "2.0"}\n{"_step": 3, "gpu": 0.9}\n',
}


@pytest.mark.parametrize("name", FILES)
def test_a_history_is_read_whatever_wrote_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert read_history(tmp_path / name) == EXPECTED


@pytest.mark.parametrize("name", ["history.jsonl", "trainer_state.json"])
def test_a_folder_of_a_run_or_of_a_checkpoint_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert read_history(tmp_path) == EXPECTED


def test_the_line_a_killed_run_was_writing_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(LINES + '{"step": 3, "train_l')
    assert read_history(tmp_path) == EXPECTED


WRONG = {
    "a.csv": ("a,b\n1,2\n", "has no step (columns: a, b)"),
    "b.csv": ("step,lr\n1,2\n", "has neither train_loss nor eval_loss (columns: step, lr)"),
    "c.csv": ("step,train_loss\n1,2\n2,high\n", 'c.csv:3: train_loss is "high", not a number'),
    "d.jsonl": (LINES + '{"step": 3, "train_l', "d.jsonl:3: not JSON"),
    "e.jsonl": ("[1, 2]\n", "e.jsonl:1: a list, not an object"),
    "f.jsonl": ("", "holds no history"),
    "g.json": ('{"step": [1, 2], "eval_loss": [1.0]}', "columns of different lengths"),
    "h.json": ('"text"', "holds a str, not a list of steps"),
    "i.jsonl": ('{"step": 1.5, "eval_loss": 2}\n', "i.jsonl:1: step is 1.5; it must be a whole number"),
    "j.jsonl": ('{"step": null, "eval_loss": 2}\n', "j.jsonl:1: no step"),
    "k.jsonl": ('{"step": 1, "eval_loss": true}\n', 'k.jsonl:1: eval_loss is "True", not a number'),
    "l.jsonl": ("[" * 100_000 + "\n", "l.jsonl:1: not JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_named_with_its_line_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, message = WRONG[name]
    (tmp_path / name).write_text(text)
    assert evalsuite(["verdict", str(tmp_path / name)]) == 1
    told = capsys.readouterr()
    assert message in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)


def test_a_column_of_long_texts_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text(f"step,eval_loss,note\n1,2,{'x' * 200_000}\n")
    (tmp_path / "h.jsonl").write_text('{"step": 1, "eval_loss": 2, "note": "a\u2028b"}\r\n')
    for name in ("h.csv", "h.jsonl"):
        assert [point.eval_loss for point in read_history(tmp_path / name)] == [2.0]


def test_an_absent_file_and_bytes_that_are_no_text_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_history(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"step,eval_loss\n1,\xff\n")
    with pytest.raises(UserError, match="is not UTF-8 \\(byte 17\\)"):
        read_history(tmp_path / "bytes.csv")
    with pytest.raises(UserError, match="history.jsonl does not exist"):
        read_history(tmp_path)


def test_the_verdict_on_a_file_has_every_field_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "h.csv").write_text(FILES["h.csv"])
    assert evalsuite(["verdict", str(tmp_path / "h.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["best_step"], found["onset_step"]) == ("too_short", 2, None)
    assert found["rule"] == "Only 1 eval loss was measured; 4 are needed to judge."
    assert found["suggestion"].startswith("Train for more steps")
