"""The rows of a target: examples of what is wanted, whole or as instructions alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from curate.errors import UserError
from curate.pool.read_options import ReadOptions
from curate.pool.rows import build_row
from curate.pool.writer import write_table
from curate.sources import load_rows
from curate.sources.turns import NOT_SINGLE_TURN
from curate.sources.types import LoadedPool

INSTRUCTIONS = ("instruction", "prompt", "question", "text")  # the column of a file that has instructions alone


def load_target(source: str, options: ReadOptions | None = None) -> LoadedPool:
    """Return the rows of a target; where its records have no output, their instructions, each with an empty output.

    Conversations and system messages are read as `options` reads those of the pool. Rows that cannot be used are left
    out, and its one note says how many; none but such are an error.
    """
    asked = options or ReadOptions()
    loaded = _read(source, ReadOptions(system=asked.system, turns=asked.turns))
    reasons = {index: reason for index, (reason, _) in loaded.excluded.items()}
    blank = {row.row_index: "blank" for row in loaded.rows if not f"{row.instruction}{row.output}".strip()}
    if not (left_out := blank | reasons):
        return replace(loaded, notes=[])
    told = ", ".join(f"{reason} {n}" for reason, n in Counter(left_out.values()).most_common())
    usable = [row for row in loaded.rows if row.row_index not in left_out]
    if not usable:
        longer = NOT_SINGLE_TURN in left_out.values()
        step = "--turns last or --turns all takes longer conversations." if longer else "Name rows that say something."
        raise UserError(f"No row of --target {source} can be used ({told}).", step)
    rows = write_table(replace(row, row_index=index) for index, row in enumerate(usable))
    note = f"{len(left_out)} of the {len(loaded.rows)} rows of --target are left out: {told}."
    return replace(loaded, rows=rows, excluded={}, notes=[note])


def _read(source: str, options: ReadOptions) -> LoadedPool:
    """Return the rows of a source, or its instructions; what is wrong with it is told of --target."""
    try:
        return load_rows(source, options=options)
    except UserError as error:
        for column in INSTRUCTIONS:
            try:
                loaded = load_rows(source, f"instruction={column},output={column}", options)
            except UserError:
                continue
            rows = [build_row(row.row_index, row.instruction, "", row.source, row.extra) for row in loaded.rows]
            return replace(loaded, rows=write_table(rows))
        what, step = (text.replace("--dataset", "--target") for text in (error.what, error.next_step))
        if "--columns" in step:  # it speaks of the pool
            step = "--columns names those of --dataset alone: name them instruction and output in the file."
        raise UserError(what, step) from None


def target_notes(target: LoadedPool | None) -> list[str]:
    """Return what a user must know of a target: what of it is left out, and what instructions alone are worth."""
    if target is None:
        return []
    if any(row.output.strip() for row in target.rows):
        return target.notes
    return [
        *target.notes,
        "The target has instructions alone, no outputs. In the study of docs/strategies.md that gave 89%, 66% and 89% "
        "of what only the target's own source gives, where whole rows gave 85%, 75% and 87% (target-words, three "
        "sources).",
    ]
