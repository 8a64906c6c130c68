"""`--keep SELECTION`: its rows stand, and the rest is chosen around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.artifact.manifest_schema import FileRecord
from curate.errors import UserError
from curate.selection.record import SELECTED, read_selection

KEPT = "kept"  # the reason code of rows that stood before the strategy was asked


@dataclass(frozen=True)
class Kept:
    """The rows of an earlier selection, in its order, and the file they are in."""

    name: str
    row_ids: tuple[str, ...]
    record: FileRecord

    def places(self, row_ids: Sequence[str], fates: Iterable[tuple[str, str | None]]) -> NDArray[np.int64]:
        """Return where the kept rows stand among candidates with these `row_ids`.

        `fates` are (row_id, reason) of all rows of the pool, to say why one of them is no candidate.
        """
        place = {row_id: i for i, row_id in enumerate(row_ids)}
        missing = {row_id for row_id in self.row_ids if row_id not in place}
        if missing:
            why = dict.fromkeys(missing, "not in the pool")
            why |= {row_id: reason or "left out" for row_id, reason in fates if row_id in missing}
            told = ", ".join(f"{reason} {n}" for reason, n in Counter(why.values()).most_common())
            raise UserError(
                f"{len(missing)} of the {len(self.row_ids)} rows of --keep {self.name} cannot stand: {told}.",
                "Select from the same rows, read alike (--columns, --turns, --system), with the same bounds, checks "
                "and --holdout, or widen them.",
            )
        return np.array([place[row_id] for row_id in self.row_ids], dtype=np.int64)


def load_kept(name: str, k: int | None) -> Kept:
    """Return the rows of a finished selection, by its name or folder; more than `k`, where it is given, are refused."""
    selection = read_selection(name)
    if k is not None and k < len(selection.selected):
        raise UserError(
            f"--k {k} is fewer than the {len(selection.selected)} rows of --keep {selection.path.name}.",
            "--k counts the kept rows too: raise it.",
        )
    record = next(each for each in selection.manifest.outputs if each.file == SELECTED)
    kept = FileRecord(file=f"{selection.path.name}/{SELECTED}", sha256=record.sha256, rows=len(selection.selected))
    return Kept(selection.path.name, tuple(row.row_id for row in selection.selected), kept)
