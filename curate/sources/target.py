"""The rows of a target: examples of what is wanted, whole or as instructions alone."""

from __future__ import annotations

from dataclasses import replace

from curate.errors import UserError
from curate.pool.rows import build_row
from curate.pool.writer import write_table
from curate.sources import load_rows
from curate.sources.types import LoadedPool

INSTRUCTIONS = ("instruction", "prompt", "question", "text")  # the column of a file that has instructions alone


def load_target(source: str) -> LoadedPool:
    """Return the rows of a target; where its records have no output, their instructions, each with an empty output."""
    try:
        return load_rows(source)
    except UserError as error:
        for column in INSTRUCTIONS:
            try:
                loaded = load_rows(source, f"instruction={column},output={column}")
            except UserError:
                continue
            rows = [build_row(row.row_index, row.instruction, "", row.source, row.extra) for row in loaded.rows]
            return replace(loaded, rows=write_table(rows))
        raise error


def target_notes(target: LoadedPool | None) -> list[str]:
    """Return what a user must know of a target: that instructions alone are worth a little less, and how much."""
    if target is None or any(row.output.strip() for row in target.rows):
        return []
    return [
        "The target has instructions alone, no outputs. In the study of docs/strategies.md that gave 94%, 66% and 91% "
        "of what only the target's own source gives, where whole rows gave 91%, 73% and 87% (target-words, three "
        "sources)."
    ]
