"""Settings that the rows leave without effect are said; what cannot be is refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from curate.selection.record import read_selection
from finetune.config import load_config
from finetune.recipe import settings_without_effect
from finetune.run.job import prepare
from tests.finetune.conftest import QUICK


def test_settings_that_do_nothing_are_said(selection: Path, tmp_path: Path) -> None:
    picked = read_selection(selection)
    more = ["early_stopping_patience=3", "group_by_length=true", "max_steps=7"]
    config = load_config(None, None, [*QUICK, *more], picked.manifest.config["model"])
    assert settings_without_effect(prepare(config, replace(picked, holdout=[]), tmp_path)) == [
        "early_stopping_patience does nothing: the selection has no held-out rows to evaluate on.",
        "group_by_length does nothing to packed rows; packing=none would batch rows of like length.",
    ]
