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
