"""Outputs with nothing in them."""

from __future__ import annotations

from collections.abc import Sequence

from curate.pool.rows import Finding, Row


def find(rows: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Rows whose output is empty or white space."""
    return [(row.row_index, "empty_output", None) for row in rows if not row.output.strip()]
