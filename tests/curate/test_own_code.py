"""Code that a tokenizer, a config or a model brings along is never run, and nobody is asked whether it may."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from benchmarks.faults_files import build_model, write_rows
from curate.cli import main as curate
from finetune.cli import main as finetune

EVIL = "import pathlib\npathlib.Path('RAN').touch()\nclass Own: pass\n"
SAID = "asks for code of its own (auto_map), which is never run."


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and rows, and a person who would answer y."""
    build_model(tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\ny\ny\n"))
    return tmp_path


def ask_for_code(folder: Path, file: str, **changes: object) -> None:
    """Let `file` of a model name classes in a module of its own."""
    (folder / "own.py").write_text(EVIL)
    content = json.loads((folder / file).read_text()) | changes
    (folder / file).write_text(json.dumps(content))


SELECT = ["select", "--dataset", "rows.jsonl", "--model", "model", "--encoder", "tfidf", "--near-duplicate", "1", "--k",
          "8", "--holdout", "4", "--out", "s"]  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str]) -> bool:
    told = capsys.readouterr()
    assert "[y/N]" not in told.out + told.err
    assert not Path("RAN").exists()
    return SAID in told.err and told.err.count("\n") == 1


def test_select_and_score_refuse_a_tokenizer_and_a_model_with_code_of_their_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curate(SELECT) == 0
    capsys.readouterr()
    own = {"AutoTokenizer": ["own.Own", None]}
    ask_for_code(place / "model", "tokenizer_config.json", tokenizer_class="Own", auto_map=own)
    ask_for_code(place / "model", "config.json", model_type="own", auto_map={"AutoConfig": "own.Own"})
    for command in (SELECT, ["score", "--dataset", "rows.jsonl", "--score-model", "model"]):
        assert curate(command) == 1
        assert refused(capsys), command


def test_run_check_and_forecast_refuse_a_model_with_code_of_its_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert curate([*SELECT, "--tokenizer", "model"]) == 0
    build_model(place / "plain")
    capsys.readouterr()
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    ask_for_code(place / "model", "config.json", model_type="own", auto_map=own)
    for command in ("run", "forecast"):
        more = ["--out", "r", "--track", "none", "warmup_steps=0"] if command == "run" else []
        assert finetune([command, "--selection", "s", *more, "device=cpu", "load_in_4bit=false"]) == 1
        assert refused(capsys), command
    finetune(["check", "--selection", "s", "device=cpu", "load_in_4bit=false"])
    told = capsys.readouterr()
    assert SAID in told.out + told.err and "[y/N]" not in told.err and not Path("RAN").exists()
