"""Rows that say the same twice, letter by letter. Near-duplicates by cosine: neighbours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.artifact import digest_text
from curate.engines.types import Engine, cut
from curate.pool.rows import Finding, Row
from curate.pool.table import PoolTable

_LINE_BREAK = re.compile(r"\r\n?|\n")


def normalise(text: str) -> str:
    """`text` without the white space that no reader and no program sees: at the ends of its lines and of the whole, and
    how line breaks are written. Indentation, blank lines and blanks inside a line make another program."""
    return "\n".join(line.rstrip() for line in _LINE_BREAK.split(text.strip()))


def exact_key(row: Row) -> str:
    """What two rows that are exact duplicates share: a digest of both texts, the ends of lines trimmed."""
    return digest_text(f"{normalise(row.instruction)}\0{normalise(row.output)}")


@dataclass(frozen=True)
class KeyStep:
    """Returns 128 bits of the exact key of every row at the places of a block (n x 2)."""

    table: PoolTable

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        keys = "".join(exact_key(row)[:32] for row in self.table.read(places))
        return np.frombuffer(bytes.fromhex(keys), dtype=">u8").astype(np.uint64).reshape(-1, 2)


def pool_keys(engine: Engine, table: PoolTable, places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return 128 bits of the exact key of every row at some places (n x 2)."""
    parts = list(engine.map(KeyStep(table), cut(places, engine.block_cells)))
    return np.concatenate([np.zeros((0, 2), dtype=np.uint64), *parts])


def find_in_pool(
    engine: Engine, table: PoolTable, places: NDArray[np.int64], held_out: NDArray[np.int64]
) -> list[Finding]:
    """Return what `find_exact_duplicates` returns for the rows at ascending places: keys mapped, equal ones grouped."""
    keys = pool_keys(engine, table, places)
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the first place of a group comes first
    ordered = keys[order]
    opens = np.ones(len(order), dtype=bool)
    opens[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    survivor = order[np.flatnonzero(opens)[np.cumsum(opens) - 1]]
    again = np.flatnonzero(~opens)
    repeats, kept = places[order[again]], places[survivor[again]]
    return [
        (int(table.row_index[row]), "duplicate", f"of row {table.row_index[first]} ({table.row_id(first)})")
        for row, first in sorted(zip(repeats.tolist(), kept.tolist(), strict=True))
    ]


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
