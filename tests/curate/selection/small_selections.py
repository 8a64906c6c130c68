"""Selections of a few made rows, by the command itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.cli import main


def run_select(folder: Path, rows: Sequence[Mapping[str, Any]], name: str, *more: str) -> int:
    """Select from the rows into `folder/name`, no check run; the exit code comes back."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return main(
        ["select", "--dataset", str(folder / "rows.jsonl"), "--model", "smollm2-135m", "--encoder", "tfidf",
         "--clean", "none", "--out", str(folder / name), *more]
    )  # fmt: skip
