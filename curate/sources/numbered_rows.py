"""Rows of anybody's JSONL file with their line numbers, for messages that point at a line."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from curate.artifact import parse_jsonl
from curate.sources.task_files import read_unpacked


def read_numbered_rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that is not blank; a broken line is a `UserError` with its number.

    A byte order mark is read past, and what is compressed with gzip, as HumanEval is published, is unpacked.
    """
    return parse_jsonl(read_unpacked(Path(path)).removeprefix(codecs.BOM_UTF8), path)
