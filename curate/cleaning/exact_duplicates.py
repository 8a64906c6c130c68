"""Rows that say the same twice, letter by letter. Near-duplicates by cosine: neighbours."""

from __future__ import annotations

import re
from collections.abc import Sequence

from curate.artifact import digest_text
from curate.pool.rows import Finding, Row

_LINE_BREAK = re.compile(r"\r\n?|\n")


def normalise(text: str) -> str:
    """`text` without the white space that no reader and no program sees: at the ends of its lines and of the whole, and
    how line breaks are written. Indentation, blank lines and blanks inside a line make another program."""
    return "\n".join(line.rstrip() for line in _LINE_BREAK.split(text.strip()))


def exact_key(row: Row) -> str:
    """What two rows that are exact duplicates share: a digest of both texts, the ends of lines trimmed."""
    return digest_text(f"{normalise(row.instruction)}\0{normalise(row.output)}")


def find_exact_duplicates(rows: Sequence[Row], held_out: Sequence[Row] = ()) -> list[Finding]:
    """(row index, "duplicate", detail) of every row whose instruction and output another has.

    White space at the ends of lines, and how line breaks are written, makes no difference.
    The row with the smallest id survives, of identical ones the one with the lowest index: the order of the pool
    decides only between rows that are the same to the letter.
    """
    survivor: dict[str, Row] = {}
    keys = [exact_key(row) for row in rows]
    for key, row in zip(keys, rows, strict=True):
        kept = survivor.get(key)
        if kept is None or (row.row_id, row.row_index) < (kept.row_id, kept.row_index):
            survivor[key] = row
    found: list[Finding] = []
    for key, row in zip(keys, rows, strict=True):
        kept = survivor[key]
        if kept.row_index != row.row_index:
            found.append((row.row_index, "duplicate", f"of row {kept.row_index} ({kept.row_id})"))
    return found
