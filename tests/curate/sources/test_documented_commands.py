"""The commands in docs/sources.md do what they say there, typed one after the other in one folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from curate.cli import app, main
from curate.selection.record import read_selection, selections_dir

PAGE = Path(__file__).parents[3] / "docs" / "sources.md"
COMMANDS = re.findall(r"^    ((?:curate|python) .+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def write_files(folder: Path) -> None:
    """The files that the commands name, 100 rows each."""
    words = ("sort", "open", "parse", "draw", "merge")
    asked = [(f"{words[i % 5]} thing number {i}", f"def f{i}(x):\n    return x + {i}\n") for i in range(100)]
    shapes: dict[str, list[dict[str, Any]]] = {
        "rows.jsonl": [{"instruction": q, "output": a} for q, a in asked],
        "licensed.jsonl": [
            {"instruction": q, "output": a, "license": ("mit", "gpl-3.0")[i % 2]} for i, (q, a) in enumerate(asked)
        ],
        "pairs.jsonl": [{"chat": [{"who": "me", "text": q}, {"who": "you", "text": a}]} for q, a in asked],
        "logs.jsonl": [
            {"log": {"talk": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}} for q, a in asked
        ],
    }
    for name, rows in shapes.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    talks = [
        {"conversations": [
            {"from": "human", "value": q}, {"from": "gpt", "value": a}, {"from": "human", "value": f"Again, {i}."},
            {"from": "gpt", "value": a * 2},
        ]}
        for i, (q, a) in enumerate(asked)
    ]  # fmt: skip
    (folder / "talks.json").write_text(json.dumps(talks))


def test_the_documented_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) >= 11
    for command in COMMANDS:
        program, *words = shlex.split(command)
        if program == "python":
            subprocess.run([sys.executable, *words], check=True, env=dict(os.environ))
            continue
        if re.search(
            r"--dataset \w+-?\w+/", command
        ):  # of the hub; tests/test_hub.py has its options against a local one
            understood: Any = typer.main.get_command(app)
            understood.commands[words[0]].make_context(words[0], words[1:])
            continue
        faster = ["--encoder", "tfidf", "--near-duplicate", "1"] if words[0] == "select" else []
        assert main([*words, *faster]) == 0, (command, capsys.readouterr().err)
    assert len(read_selection("grown").selected) == 40
    first, grown = read_selection("first"), read_selection("grown")
    assert [row.row_id for row in grown.selected[:20]] == [row.row_id for row in first.selected]
    assert "20 rows are in both, of 20 in first and 40 in grown" in capsys.readouterr().out
    turns = {read_selection(folder).manifest.config["turns"] for folder in selections_dir().iterdir()}
    assert turns == {"single", "last", "all"}
