"""What `finetune influence` leaves behind: how much a small model learns about a target from each row, by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.artifact import find_artifact, home, parse_jsonl, read_manifest, read_output, write_jsonl
from curate.artifact.manifest_schema import Manifest
from curate.errors import UserError
from curate.pool.rows import Row

KIND = "finetune.influence"
SCORES = "scores.jsonl"
AGAIN = "Make them again: finetune influence"


@dataclass(frozen=True, slots=True)
class RowInfluence:
    """A row's influence on the target's loss, a token of the row; above 0 the row helps."""

    row_id: str
    influence: float


@dataclass(frozen=True)
class Influence:
    """Finished scores, read back."""

    path: Path
    manifest: Manifest
    scores: dict[str, float]

    def of_rows(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return the scores (n,) of some rows; NaN for rows that were kept apart as the target or are too long.

        Rows of which most were never scored are another pool's: an error.
        """
        found = np.array([self.scores.get(row.row_id, np.nan) for row in rows])
        missing = int(np.isnan(found).sum())
        if missing > len(rows) / 2:
            raise UserError(
                f"{missing} of {len(rows)} candidates have no score in {self.path}.",
                "Score this pool: finetune influence --selection NAME, with a selection made from it.",
            )
        return found


def influences_dir() -> Path:
    """Where scores of influence live."""
    return home() / "influence"


def write_scores(path: Path, scores: Sequence[RowInfluence]) -> int:
    """Write the scores as JSONL; the number of rows comes back."""
    return write_jsonl(path, (asdict(score) for score in scores))


def read_influence(given: str | Path) -> Influence:
    """The finished scores at a path or of a name; they must have the digest that their manifest recorded."""
    folder = find_artifact(given, influences_dir(), KIND)
    manifest = read_manifest(folder, KIND)
    data = read_output(folder, manifest, SCORES, AGAIN)
    try:
        scores = [RowInfluence(**line) for _, line in parse_jsonl(data, folder / SCORES, ours=True)]
    except TypeError as error:
        raise UserError(f"{folder / SCORES} does not hold scores of influence ({error}).", AGAIN) from None
    return Influence(folder, manifest, {score.row_id: score.influence for score in scores})
