"""What picks may be by a column that travels with the rows: such rows alone, or no more than a share of each value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from curate.errors import UserError, did_you_mean
from curate.pool.dialogue import MESSAGES
from curate.pool.fates import EXCLUDED, Fates
from curate.pool.read_options import allows, parse_caps, parse_conditions
from curate.pool.table import PoolTable, as_row_ids
from curate.selection.keeping import Kept
from curate.selection.mix import NOT_SAID
from curate.strategies.caps import Cap

NOT_TO_BE_PICKED = "not_to_be_picked"  # the reason code of what --pick-where leaves out
_SHOWN = 8


def rows_where(rows: PoolTable, conditions: Sequence[str]) -> NDArray[np.bool_]:
    """Return which rows meet every condition of `--pick-where` (n,), in pool order; an error where none does."""
    met = np.ones(len(rows), dtype=bool)
    for name, wanted in parse_conditions(conditions, "--pick-where").items():
        codes, values = _coded(rows, name, "--pick-where")
        allowed = np.array([allows(wanted, value) for value in values])
        if not allowed[codes].any():
            seen = sorted(zip(np.bincount(codes, minlength=len(values)).tolist(), values, strict=True), reverse=True)
            told = ", ".join(f"{value or NOT_SAID} {n}" for n, value in seen[:_SHOWN])
            raise UserError(f"--pick-where {name} leaves no row of the pool.", f"Its values: {told}.")
        met &= allowed[codes]
    return met


def leave_others(fates: Fates, rows: PoolTable, conditions: Sequence[str], kept: Kept | None) -> Fates:
    """Return the fates with the rows excluded that `--pick-where` leaves out; those that are kept stand unpicked."""
    if not conditions:
        return fates
    others = np.flatnonzero((fates.codes == 0) & ~rows_where(rows, conditions))
    if kept is not None:
        standing = set(kept.row_ids)
        others = others[[row_id not in standing for row_id in as_row_ids(rows.ids[rows.place[others]])]]
    return fates.decide_all(others, EXCLUDED, NOT_TO_BE_PICKED)


def caps_of(rows: PoolTable, among: NDArray[np.int64], caps: Sequence[str], size: int) -> tuple[Cap, ...]:
    """Return the caps of `--cap` for the rows `among` the pool's that may be picked, `size` rows or tokens of them."""
    made = []
    for name, share in parse_caps(caps).items():
        codes, values = _coded(rows, name, "--cap")
        if (most := int(share * size + 1e-9)) < 1:
            raise UserError(f"--cap {name}={share:g} of {size} is less than one.", "Raise the share.")
        made.append(Cap(name, share, most, codes[among], tuple(value or NOT_SAID for value in values)))
    return tuple(made)


def _coded(rows: PoolTable, name: str, option: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return the values of a column, and of every row in pool order (n,) the place of its value among them."""
    known = ("source", *(column for column in rows.travelling if column != MESSAGES))
    if name not in known:
        raise UserError(f'The pool has no column "{name}" for {option}.', did_you_mean(name, known))
    column = pyarrow.compute.fill_null(rows.column(name), "")
    if isinstance(column, pyarrow.ChunkedArray):
        column = column.combine_chunks()
    coded = column.dictionary_encode()
    return np.asarray(coded.indices, dtype=np.int64), coded.dictionary.to_pylist()
