"""The settings of the `evalsuite` commands, with every default in its one home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from curate.command_line import CommandConfig, Words


class ReportConfig(CommandConfig):
    """What a report is on: runs by name or path (none: every finished run), the prompts, the tasks to execute."""

    command = ("evalsuite", "report")

    runs: Annotated[tuple[str, ...], Words()] = ()
    prompts: Path | None = None
    max_new_tokens: int | None = None
    tasks: Path | None = None
    execute: bool = False
    engine: str = "auto"
    backend: str = "auto"


class ExecuteConfig(CommandConfig):
    """What is run: the generations, or with `reference` the tasks' own solutions, against the tests of the tasks.

    With `cut_at_function` a completion ends where the wanted function and what it needs end.
    """

    command = ("evalsuite", "execute")

    tasks: Path
    generations: Path | None = None
    out: Path | None = None
    execute: bool = False
    style: str | None = None
    cut_at_function: bool = False
    reference: bool = False
    cpu_seconds: float | None = None
    workers: int | None = None
    judge: str = "apart"
    backend: str = "auto"
    unsafe_local: bool = False
