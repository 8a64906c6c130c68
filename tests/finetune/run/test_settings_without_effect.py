"""Settings that the rows leave without effect are said; what cannot be is refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from curate.selection.record import read_selection
from finetune.cli import main
from finetune.config import load_config
from finetune.recipe import settings_without_effect
from finetune.run.job import prepare
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK


def test_settings_that_do_nothing_are_said(selection: Path, tmp_path: Path) -> None:
    picked = read_selection(selection)
    more = ["early_stopping_patience=3", "group_by_length=true", "max_steps=7"]
    config = load_config(None, None, [*QUICK, *more], picked.manifest.config["model"])
    assert settings_without_effect(prepare(config, replace(picked, holdout=[]), tmp_path)) == [
        "early_stopping_patience does nothing: the selection has no held-out rows to evaluate on.",
        "group_by_length does nothing to packed rows; packing=none would batch rows of like length.",
    ]


@pytest.mark.parametrize("refused", ["max_length=16", "seed=4294967296"])
def test_a_start_that_was_refused_does_not_keep_its_folder(
    made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: str
) -> None:
    command = ["run", "--selection", str(made_selection), "--out", str(tmp_path / "r"), "--track", "none", *QUICK]
    assert main([*command, refused]) in (1, 2)
    assert refused.partition("=")[2] in capsys.readouterr().err
    assert main([*command, "max_steps=2"]) == 0
    assert read_run(tmp_path / "r").history[-1]["step"] == 2


def test_a_run_in_the_folder_one_stands_in_has_its_name(
    made_selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'an "odd" name'
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert (
        main(["run", "--selection", str(made_selection), "--out", ".", "--track", "none", *QUICK, "max_steps=1"]) == 0
    )
    card = (folder / "README.md").read_text()
    assert '\n# an "odd" name\n' in card
    assert 'load_run("path/to/an \\"odd\\" name")' in card
