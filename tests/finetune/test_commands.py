"""From settings to the command line and back, for every command of `finetune` that has settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer.main

from finetune.cli import app
from finetune.commands import (
    CheckCommand,
    ForecastCommand,
    InfluenceCommand,
    PaddingStudyCommand,
    RunCommand,
    TrainingCommand,
)
from finetune.config import load_config

COMMANDS: tuple[type[TrainingCommand], ...] = (
    RunCommand,
    CheckCommand,
    ForecastCommand,
    PaddingStudyCommand,
    InfluenceCommand,
)
OPTIONS: dict[type[TrainingCommand], dict[str, Any]] = {
    RunCommand: {"out": Path("a folder/r"), "gpus": 2, "wandb": "off", "dry_run": True, "resume": None},
    CheckCommand: {},
    ForecastCommand: {},
    PaddingStudyCommand: {"rows": 12, "out": Path("study")},
    InfluenceCommand: {"target": "wanted.jsonl", "checkpoints": 2, "out": Path("scores")},
}
OVERRIDES: list[tuple[str, ...]] = [
    (),
    ("learning_rate=1e-05", "max_steps=3", "target_modules=[q_proj, 'v_proj']", "load_in_4bit=no", "pad_token='1'"),
    ("model=some/other-model", "r=64", "eval_rows=null", "target_modules=.*layers\\.2\\d\\..*_proj"),
    ("model=smollm2-135m", "warmup_steps=0", "gradient_checkpointing=true", "pad_token=<|endoftext|>"),
]


def parse(kind: type[TrainingCommand], words: list[str]) -> TrainingCommand:
    """The command as the program itself reads `words`."""
    command = typer.main.get_command(app).commands[kind.command[1]]  # type: ignore[attr-defined]
    options = command.make_context(kind.command[1], list(words)).params
    options["overrides"] = tuple(options["overrides"] or ())
    return kind(**options)


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("overrides", OVERRIDES)
@pytest.mark.parametrize("preset", [None, "notebook"])
def test_settings_become_a_command_line_that_gives_the_same_settings(
    kind: type[TrainingCommand], overrides: tuple[str, ...], preset: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "my settings.yaml"
    file.write_text("weight_decay: 0.5\n")
    asked = kind(
        selection="my selection", preset=preset, config=file, as_json=True, overrides=overrides, **OPTIONS[kind]
    )
    words = asked.as_command()
    assert words[:2] == list(kind.command)
    assert parse(kind, words[2:]) == asked
    settings = asked.settings("openai-community/gpt2")
    assert settings.weight_decay == 0.5
    again = kind.with_settings(settings, "openai-community/gpt2", selection="my selection", **OPTIONS[kind])
    read_back = parse(kind, again.as_command()[2:])
    assert read_back == again
    assert read_back.settings("openai-community/gpt2") == settings
    assert kind.with_settings(settings, "openai-community/gpt2", selection="my selection", **OPTIONS[kind]) == again


def test_a_preset_alone_needs_no_override() -> None:
    command = RunCommand.with_settings(load_config("cpu-demo"), "smollm2-135m")
    assert command.as_command() == ["finetune", "run", "--preset", "cpu-demo"]
