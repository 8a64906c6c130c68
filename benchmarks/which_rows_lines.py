"""The JSON lines of the study "which rows?": one a cell that was made, or that failed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def key(cell: Mapping[str, Any]) -> str:
    """Return what names a cell."""
    return json.dumps([cell.get("cell"), cell.get("draw"), cell.get("budget"), cell.get("target")])


def made(line: Mapping[str, Any]) -> bool:
    """Return whether a line is a finished cell: a failed one is tried again."""
    return "failed" not in line and "task" not in line


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file, which may be gzipped."""
    text = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode()
    return [json.loads(line) for line in text.splitlines()]


class Lines:
    """The JSON lines of files that others may still be writing, each read once; one that is gzipped is finished."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.read: dict[Path, int] = {}

    def of(self, files: Iterable[Path]) -> list[dict[str, Any]]:
        """Return every whole line of these files so far."""
        for file in files:
            if file.suffix == ".gz" and file not in self.read:
                self.lines += read_lines(file)
                self.read[file] = 0
            elif file.is_file() and file.suffix != ".gz":
                with file.open("rb") as lines:
                    lines.seek(self.read.get(file, 0))
                    for line in lines:
                        if line.endswith(b"\n"):
                            self.lines.append(json.loads(line))
                            self.read[file] = self.read.get(file, 0) + len(line)
        return self.lines
