"""Command lines made from a finished selection work when they are pasted, whatever it was made with."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from curate.artifact import read_manifest
from curate.cli import main
from curate.selection.again import picking_again, settings_of
from curate.selection.record import KIND, SelectedRow, read_selection
from tests.curate.selection.small_selections import run_select

ROWS = [
    {
        "messages": [
            {"role": "system", "content": f"Answer as number {i}."},
            {"role": "user", "content": f"Sort list {i}."},
            {"role": "assistant", "content": f"sorted(x{i})"},
            {"role": "user", "content": f"And reverse it {'again ' * (30 * i)}?"},
            {"role": "assistant", "content": f"sorted(x{i})[::-1]"},
        ]
    }
    for i in range(40)
]
LONG = ["--max-tokens", "4000", "--k", "30", "--near-duplicate", "1"]


@pytest.mark.parametrize(
    "options",
    [
        ["--turns", "all", "--system", "keep", "--prompt-template", "chat"],
        ["--turns", "last", "--prompt-template", "{folder}/my template.txt"],
        ["--turns", "last", "--system", "require", "--prompt-template={folder}/my template.txt"],
    ],
)
def test_edited_rows_become_a_selection_with_the_same_texts_by_the_command_that_is_told(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "my template.txt").write_text("Frage → {instruction}\nAntwort:")
    words = [word.format(folder=tmp_path) for word in options]
    monkeypatch.setattr("sys.argv", ["curate", "select", *words])
    assert run_select(tmp_path, ROWS, "s", *LONG, *words) == 0
    before = read_selection(tmp_path / "s")
    path = tmp_path / "s" / "selected.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:]))
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "s")]) == 1
    told = shlex.split(capsys.readouterr().err.partition("make it a selection of its own: curate ")[2])
    assert told[told.index("--k") + 1] == "30"
    told[told.index("--k") + 1] = "29"  # a row was taken out
    assert main(told) == 0
    after = read_selection(Path(f"{tmp_path / 's'}-edited"))

    def texts(row: SelectedRow) -> tuple[Any, ...]:
        return row.instruction, row.output, row.token_count, row.extra.get("messages")

    assert list(map(texts, after.selected)) == list(map(texts, before.selected[1:]))
    assert after.template.text == before.template.text


def test_the_same_rows_are_picked_by_what_another_command_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "template.txt").write_text("Frage → {instruction}")
    template = ["--prompt-template", str(tmp_path / "template.txt")]
    target = tmp_path / "wanted.json"
    target.write_text(json.dumps([{"instruction": "Sort."}]))
    monkeypatch.setattr("sys.argv", ["curate", "select", *template])
    options = [*LONG, "--turns", "all", "--holdout", "3", "--cap", "source=1", *template, "--target", str(target)]
    assert run_select(tmp_path, ROWS, "s", *options, "--strategy-option", "rounds=1") == 0
    settings = settings_of(read_manifest(tmp_path / "s", KIND))
    assert shlex.split(picking_again(settings, "influence", "my scores")) == [
        "curate", "select", "--dataset", str(tmp_path / "rows.jsonl"), "--model", "smollm2-135m", *template,
        "--turns", "all", "--strategy", "influence", "--cap", "source=1", "--influence", "my scores",
        "--encoder", "tfidf", "--k", "30", "--max-tokens", "4000", "--holdout", "3", "--near-duplicate", "1.0",
        "--clean", "none",
    ]  # fmt: skip
    assert "--draws d --encoder tfidf" in picking_again(settings, "best-of-draws", "d")


@pytest.mark.parametrize("number", [1, 2])
def test_the_settings_of_earlier_selections_are_read(number: int) -> None:
    manifest = read_manifest(Path(__file__).parents[2] / "golden" / f"curate.selection-{number}", KIND)
    assert settings_of(manifest).k == manifest.config["k"]
