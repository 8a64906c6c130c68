"""What each command of `finetune` that trains or looks ahead is told, and the way back to its command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import yaml

from curate.command_line import CommandConfig, Named, Words
from finetune.config import RunConfig, load_config, preset_for
from finetune.parallel.layout import Layout, build_layout, layout_of


class TrainingCommand(CommandConfig):
    """What `run`, `check`, `forecast` and `padding-study` share: a selection, and where the settings come from."""

    always: ClassVar[frozenset[str]] = frozenset()

    selection: str | None = None
    preset: str | None = None
    config: Path | None = None
    as_json: Annotated[bool, Named("--json")] = False
    overrides: Annotated[tuple[str, ...], Words()] = ()

    def settings(self, model: str | None) -> RunConfig:
        """Return the run's settings; `model` is the selection's, which is taken where nothing names another."""
        preset = self.preset or (None if model is None else preset_for(model))
        return load_config(preset, self.config, self.overrides, model)

    @classmethod
    def with_settings(cls, settings: RunConfig, model: str | None, **options: Any) -> Self:
        """Return the command that makes exactly `settings` from a selection of `model`, whatever made them first."""
        preset = preset_for(settings.model)
        base = cls(preset=preset, **options).settings(model).model_dump()
        differing = {name: value for name, value in settings.model_dump().items() if value != base[name]}
        words = tuple(f"{name}={_as_yaml(value)}" for name, value in differing.items())
        return cls(preset=preset, overrides=words, **options)


class SpreadCommand(TrainingCommand):
    """What `run`, `check` and `forecast` share beside it: the GPUs; None means as the run was started, or one."""

    gpus: int | None = None
    parallel: str | None = None
    nodes: int | None = None
    rendezvous: str | None = None

    def layout(self, started: Mapping[str, Any] | None = None, meets: bool = True) -> Layout:
        """Return the GPUs that are asked for; what is left out is as the run was `started`, or one GPU.

        A command whose machines do not meet needs no place for it.
        """
        before = layout_of(started or {})
        nodes = self.nodes or before.nodes
        place = self.rendezvous or (None if meets or nodes == 1 else "nowhere:1")
        return build_layout(self.gpus or before.gpus, self.parallel or before.parallel, nodes, place)


class RunCommand(SpreadCommand):
    """`finetune run`."""

    command: ClassVar[tuple[str, ...]] = ("finetune", "run")

    out: Path | None = None
    resume: str | None = None
    dry_run: bool = False
    track: str | None = None
    wandb: str | None = None


class CheckCommand(SpreadCommand):
    """`finetune check`."""

    command: ClassVar[tuple[str, ...]] = ("finetune", "check")

    row: int | None = None
    loss: bool = False
    out: Path | None = None


class ForecastCommand(SpreadCommand):
    """`finetune forecast`."""

    command: ClassVar[tuple[str, ...]] = ("finetune", "forecast")


class PaddingStudyCommand(TrainingCommand):
    """`finetune padding-study`."""

    command: ClassVar[tuple[str, ...]] = ("finetune", "padding-study")

    rows: int = 64
    out: Path | None = None


class InfluenceCommand(TrainingCommand):
    """`finetune influence`."""

    command: ClassVar[tuple[str, ...]] = ("finetune", "influence")

    target: str | None = None
    checkpoints: int = 3
    out: Path | None = None


def _as_yaml(value: object) -> str:
    """Return `value` as an override reads it: a bare word where that means the same, else JSON, which YAML takes."""
    if isinstance(value, str) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value)
