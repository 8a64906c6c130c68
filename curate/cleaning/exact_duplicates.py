"""Rows that say the same twice, letter by letter. Near-duplicates by cosine: neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from curate.artifact import digest_text
from curate.pool.rows import Finding, Row


def normalise(text: str) -> str:
    """`text` with its white space folded, as far as two rows that differ only there are the same row."""
    return " ".join(text.split())


def exact_key(row: Row) -> str:
    """What two rows that are exact duplicates share: a digest of instruction and output, white space folded."""
    return digest_text(f"{normalise(row.instruction)}\0{normalise(row.output)}")


def find_exact_duplicates(rows: Sequence[Row], held_out: Sequence[Row] = ()) -> list[Finding]:
    """(row index, "duplicate", detail) of every row whose instruction and output another has, white space folded.

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
