"""Rows of a JSONL file with their line numbers, for messages that point at a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_numbered_rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that is not blank; a broken line is a `UserError` with its number."""
    from curate.artifact import read_jsonl
    from curate.errors import UserError

    source = Path(path)
    if source.is_dir():
        raise UserError(f"{source} is a folder.", "Name a JSONL file.")
    rows = read_jsonl(source)
    numbers = [n for n, line in enumerate(source.read_bytes().split(b"\n"), start=1) if line.strip()]
    return list(zip(numbers, rows, strict=True))
