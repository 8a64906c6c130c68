"""Loss histories from every file people have them in, and one clear line for what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.errors import UserError
from evaluate_suite.cli import main as evalsuite
from evaluate_suite.training_curve.columns import parse_columns
from evaluate_suite.training_curve.readers import read_history
from evaluate_suite.training_curve.rules import judge
from evaluate_suite.training_curve.types import HistoryPoint
from tests.shared_folder import SHARED

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
CARD = """| Training Loss | Epoch | Step | Validation Loss |
|:-------------:|:-----:|:----:|:---------------:|
| 2.5           | 0.5   | 1    | No log          |
| No log        | 1.0   | 2    | 2.0             |
"""
HTML = (
    "<p>[2/2]</p><table border=1><tr><th>Step</th><th>Training Loss</th><th>Validation Loss</th></tr>"
    "<tr><td>1</td><td>2.500000</td><td>No log</td></tr><tr><td>2</td><td></td><td>2.000000</td></tr></table>"
)
FILES = {
    "history.jsonl": LINES,
    "h.csv": "step,train_loss,eval_loss\n1,2.5,\n2,,2.0\n",
    "excel.csv": "\ufeffStep,Training Loss,Validation Loss\r\n1,2.5,No log\r\n2,No log,2.0\r\n",
    "german.csv": "step;train_loss;eval_loss\n1;2,5;\n2;;2,0\n",
    "h.tsv": "step\ttrain_loss\teval_loss\n1\t2.5\t\n2\t\t2.0\n",
    "pasted.txt": "Step  Training Loss  Validation Loss\n1     2.5            No log\n2     No log         2.0\n",
    "rows.json": json.dumps(ROWS),
    "columns.json": json.dumps({"step": [1, 2], "train_loss": [2.5, None], "eval_loss": [None, 2.0]}),
    "pandas.json": json.dumps({"step": {"0": 1, "1": 2}, "loss": {"0": 2.5}, "eval_loss": {"1": 2.0}}),
    "index.json": json.dumps({"0": ROWS[0], "1": ROWS[1]}),
    "split.json": json.dumps({"columns": ["step", "loss", "val_loss"], "data": [[1, 2.5, None], [2, None, 2.0]]}),
    "keras.json": json.dumps({"loss": [2.5, None], "val_loss": [None, 2.0]}),
    "keras_pandas.json": json.dumps({"loss": {"0": 2.5, "1": None}, "val_loss": {"0": None, "1": 2.0}}),
    "keras_pandas.csv": ",loss,val_loss\n0,2.5,\n1,,2.0\n",
    "with_settings.json": json.dumps({"train_losses": [2.5, None], "val_losses": [None, 2.0], "lr": 1, "by": {"a": 1}}),
    "blanks.txt": "step loss val_loss\n1 2.5 -\n2 - 2.0\n",
    "long.csv": "run,tag,step,value\nr,train/loss,1,2.5\nr,eval/loss,2,2.0\nr,lr,2,0.1\n",
    "quoted.csv": 'step,train_loss,eval_loss\n1,"2,5",\n2,,"2,0"\n',
    "keras.csv": "epoch,loss,val_loss\n1,2.5,\n2,,2.0\n",
    "trainer_state.json": json.dumps(STATE),
    "log_history.json": json.dumps(STATE["log_history"]),
    "log_history.jsonl": "".join(json.dumps(row) + "\n" for row in STATE["log_history"]),
    "printed.log": "  0%|  | 0/2\n{'loss': 2.5, 'epoch': 1}\nsaving\n{'eval_loss': 2.0, 'x': nan, 'epoch': 2}\n",
    "wandb.jsonl": '{"_step": 1, "train/loss": 2.5}\n{"_step": 2, "eval/loss": "2.0"}\n{"_step": 3, "gpu": 0.9}\n',
    "wandb.csv": '"Step","r - train/loss","r - train/loss__MIN","r - eval/loss"\n1,2.5,2.5,\n2,,,2.0\n',
    "lightning.csv": "epoch,step,train_loss_step,train_loss_epoch,val_loss\n0,1,2.5,,\n0,2,,,2.0\n0,2,,2.2,\n",
    "llama_factory.jsonl": '{"current_steps": 1, "loss": 2.5}\n{"current_steps": 2, "eval_loss": 2}\n',
    "one_named_set.csv": "step,loss,eval_code_loss\n1,2.5,\n2,,2.0\n",
    "README.md": f"# A card\n\n| Metric | Value |\n|---|---|\n| Accuracy | 1 |\n\n{CARD}\nText.\n",
    "table.html": HTML,
    "notebook.ipynb": json.dumps({"cells": [{"outputs": [{"data": {"text/html": [HTML]}}]}]}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_history_is_read_whatever_wrote_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert read_history(tmp_path / name).points == EXPECTED


@pytest.mark.parametrize("name", ["history.jsonl", "trainer_state.json"])
def test_a_folder_of_a_run_or_of_a_checkpoint_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert read_history(tmp_path).points == EXPECTED


def test_the_line_a_killed_run_was_writing_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(LINES + '{"step": 3, "train_l')
    assert read_history(tmp_path).points == EXPECTED


WRONG = {
    "a.csv": ("a,b\n1,2\n", "has neither train_loss nor eval_loss (columns: a, b)"),
    "aa.csv": ("a,loss\n1,2\n", "has no step (columns: a, loss)"),
    "b.csv": ("step,lr\n1,2\n", "has neither train_loss nor eval_loss (columns: step, lr)"),
    "c.csv": ("step,train_loss\n1,2\n2,high\n", 'c.csv:3: train_loss is "high", not a number'),
    "d.jsonl": (LINES + '{"step": 3, "train_l', "d.jsonl:3: not JSON"),
    "e.jsonl": ("[1, 2]\n", "e.jsonl:1: a int, not an object"),
    "f.jsonl": ("", "holds no history"),
    "g.json": ('{"step": [1, 2], "eval_loss": [1.0]}', "columns of different lengths"),
    "h.json": ('"text"', "holds a str, not a list of steps"),
    "i.jsonl": ('{"step": 1.5, "eval_loss": 2}\n', "i.jsonl:1: step is 1.5; it must be a whole number"),
    "j.jsonl": ('{"step": null, "eval_loss": 2}\n{"step": 1, "eval_loss": 2}\n', "j.jsonl:1: no step"),
    "k.jsonl": ('{"step": 1, "eval_loss": true}\n', 'k.jsonl:1: eval_loss is "True", not a number'),
    "m.csv": ("step,train_loss,eval_loss\n10,2,1,2,05\n", "m.csv:2: 5 cells under 3 names"),
    "n.csv": ("Wall time,Step,Value\n1.0,10,2.05\n", "its column Value does not say which loss it is"),
    "o.json": ("[[1.0, 10, 2.05]]", "its column Value does not say which loss it is"),
    "p.csv": (
        "Step,a - eval/loss,b - eval/loss\n1,2,\n2,2,3\n",
        "several columns of eval_loss: a - eval/loss, b -",
    ),
    "q.csv": ("epoch,loss\n0,2\n0,1\n", "Several train losses stand at epoch 0"),
    "r.md": (f"{CARD}\ntext\n\n{CARD}", "holds 2 tables with a column of losses"),
    "l.jsonl": ("[" * 100_000 + "\n", "l.jsonl:1: not JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_named_with_its_line_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text, message = WRONG[name]
    (tmp_path / name).write_text(text)
    assert evalsuite(["verdict", str(tmp_path / name)]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("data", [b"PAR1\xff\xfe", b"PK\x03\x04\xff", b"\x1f\x8b\x08"], ids=["parquet", "xlsx", "gzip"])
def test_a_file_that_is_no_text_is_to_be_exported(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "h").write_bytes(data)
    with pytest.raises(UserError, match="is no text file. Export the history as CSV or JSON"):
        read_history(tmp_path / "h")


def test_a_column_of_long_texts_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text(f"step,eval_loss,note\n1,2,{'x' * 200_000}\n")
    (tmp_path / "h.jsonl").write_text('{"step": 1, "eval_loss": 2, "note": "a\u2028b"}\r\n')
    for name in ("h.csv", "h.jsonl"):
        assert [point.eval_loss for point in read_history(tmp_path / name).points] == [2.0]


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
    record = json.loads(capsys.readouterr().out)
    assert (record["verdict"], record["best_step"], record["onset_step"]) == ("too_short", 2, None)
    assert record["rule"] == "Only 1 eval loss was measured; 4 are needed to judge."
    assert record["suggestion"].startswith("Train for more steps")


def test_columns_of_any_name_are_read_where_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "scalar.csv"
    path.write_text("Wall time,Step,Value\n1.0,1,\n2.0,2,2.0\n")
    assert read_history(path, parse_columns("eval_loss=Value")).points == EXPECTED[1:]
    path.write_text('n,"loss, mean",step,dev\n1,2.5,7,\n2,,7,2.0\n')
    assert read_history(path, parse_columns("step=n,train_loss=loss, mean,eval_loss=dev")).points == EXPECTED
    with pytest.raises(UserError, match="has no column nn \\(columns: n, loss, mean, step, dev\\)"):
        read_history(path, parse_columns("step=nn"))
    with pytest.raises(UserError, match='--columns does not know "loss=a"'):
        parse_columns("loss=a")


def test_every_column_that_is_not_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "h.csv").write_text("step,loss,loss,eval_loss,lr,empty\n1,2.5,9,2.0,0.1,\n")
    assert evalsuite(["verdict", str(tmp_path / "h.csv"), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["left_alone"] == ["loss (2)", "lr"]
    assert "Read step, train_loss=loss, eval_loss. Left alone: loss (2), lr." in printed.err


def test_several_named_eval_sets_are_judged_each_and_the_gravest_verdict_leads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = [3.0, 2.0, 1.5, 1.3, 1.25, 1.24, 1.239, 1.2388]
    code = [2.05, 1.8, 1.72, 1.78, 1.9, 2.04, 2.21, 2.4]
    lines = [f"{10 * i},{a},{b}" for i, (a, b) in enumerate(zip(text, code, strict=True), start=1)]
    (tmp_path / "h.csv").write_text("step,eval_text_loss,eval_code_loss\n" + "\n".join(lines))
    assert evalsuite(["verdict", str(tmp_path / "h.csv"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["eval_set"], record["verdict"], record["onset_step"]) == ("code", "overfit", 40)
    assert {name: each["verdict"] for name, each in record["eval_sets"].items()} == {"text": "good", "code": "overfit"}


CASES = {
    "01-log-history-list/log_history.json": ("overfit", 30, 40),
    "01-log-history-list/training_log.csv": ("overfit", 30, 40),
    "01-log-history-list/log.jsonl": ("overfit", 30, 40),
    "01-log-history-list/trainer_state.json": ("overfit", 30, 40),
    "01-log-history-list/good_list.json": ("good", 200, None),
    "01-log-history-list/diverged_list.json": ("diverged", None, None),
    "02-llamafactory-trainer-log/trainer_log.jsonl": ("overfit", 30, 40),
    "04-wandb-csv/wandb_export.csv": ("overfit", 30, 40),
    "04-wandb-csv/lightning_metrics.csv": ("overfit", 30, 40),
    "04-wandb-csv/excel_de.csv": ("overfit", 30, 40),
    "05-nan-at-the-end/trainer_state.json": ("diverged", 654, None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_another_tool_wrote_gets_its_verdict(name: str) -> None:
    path = SHARED / "cases" / name
    if not path.is_file():
        pytest.skip(f"CASES ARE ABSENT: {path}")
    verdict = judge(read_history(path).points)
    assert (verdict.verdict, verdict.best_step, verdict.onset_step) == CASES[name]
    assert verdict.evidence.get("broken_step") == (981 if name.startswith("05") else None)


LOSSES = [(10, 2.1, 2.05), (20, 1.7, 1.8), (30, 1.4, 1.72), (40, 1.1, 1.8), (50, 0.9, 1.9), (60, 0.6, 2.05)]


@pytest.mark.parametrize("name", ["sep line", "bars", "dashes"])
def test_a_table_as_other_programs_write_it_is_read(name: str, tmp_path: Path) -> None:
    rows = ["step,train_loss,eval_loss", *(f"{step},{train},{loss}" for step, train, loss in LOSSES)]
    text = "\n".join(rows) + "\n"
    if name == "sep line":
        text = "sep=,\n" + text
    elif name == "bars":
        text = text.replace(",", "|")
    else:
        text += "70,0.5,\u2014\n"
    (tmp_path / "log.csv").write_text(text)
    points = read_history(tmp_path / "log.csv").points
    assert [(p.step, p.train_loss, p.eval_loss) for p in points[:6]] == LOSSES


@pytest.mark.parametrize("name", ["log.json", "log.jsonl"])
def test_a_key_with_two_values_loses_none_of_them_in_silence(name: str, tmp_path: Path) -> None:
    line = '{"step": 10, "loss": 2.0, "loss": 1.0}'
    (tmp_path / name).write_text(f"[{line}]" if name.endswith("json") else line + "\n" + line)
    with pytest.raises(UserError, match='the key "loss" stands twice in one object'):
        read_history(tmp_path / name)


@pytest.mark.parametrize("columns", ["step=a,step=b", "train_loss=b,eval_loss=b"])
def test_columns_that_stand_for_two_things_or_are_named_twice_are_refused(columns: str) -> None:
    with pytest.raises(UserError, match=r'--columns names "(step|b)" twice.'):
        parse_columns(columns)


@pytest.mark.parametrize(
    "text",
    [
        "# step,eval_loss\n1,3.0e+00\n2,2.5\n",
        "# made by savetxt\n# step eval_loss\n1 3.0e+00\n2 2.5\n",
        "# my run\nstep,eval_loss\n1,3\n2,2.5\n",
    ],
)
def test_comments_above_a_table_are_no_row_and_numpy_keeps_the_names_in_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "h.txt").write_text(text)
    assert read_history(tmp_path / "h.txt").points == [HistoryPoint(1, None, 3.0), HistoryPoint(2, None, 2.5)]
