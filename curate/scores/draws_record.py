"""What `evalsuite best-of-draws` leaves behind: the loss after training on each of many draws, and the best draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from curate.artifact import Record, RecordPart, find_artifact, home, read_manifest
from curate.artifact.manifest_schema import Manifest
from curate.errors import UserError
from curate.pool.rows import Row
from curate.scores.by_row import read_by_row
from curate.scores.made_for import MadeFor

KIND = "evaluate_suite.draws"
PICKED = "picked.jsonl"
COMMAND = "evalsuite best-of-draws"


class Draw(RecordPart):
    """One draw that was trained: its number, its rows and tokens, and the loss (nats a token) it was judged by."""

    number: int
    rows: int
    tokens: int
    loss: float


class DrawsRecord(Record):
    """All draws, and which was best. Its loss flatters it: it was chosen for that."""

    file: ClassVar[str] = "draws.json"

    schema_: Literal["evaluate_suite.draws/1"] = Field(default="evaluate_suite.draws/1", alias="schema")
    made_for: MadeFor
    strategy: str
    strategy_options: dict[str, Any]
    k: int
    token_budget: int | None
    judged_by: str
    draws: list[Draw]
    best: int
    mean: float
    spread: float

    @property
    def size(self) -> str:
        """The size of the draws, as the command line asks for it."""
        return f"--k {self.k}" if self.token_budget is None else f"--token-budget {self.token_budget}"


@dataclass(frozen=True)
class Draws:
    """Finished draws, read back. `place_of` is the place in the best draw's order of picks, by row_id."""

    path: Path
    manifest: Manifest
    record: DrawsRecord
    place_of: Mapping[str, int]

    def require_size(self, k: int, token_budget: int | None) -> None:
        """Raise a `UserError` where a selection is to have another size than the draws had."""
        asked = f"--k {k}" if token_budget is None else f"--token-budget {token_budget}"
        if asked != self.record.size:
            raise UserError(
                f"The draws of {self.path.name} were trained with {self.record.size}, and this selection has {asked}.",
                f"Take {self.record.size}, or make draws of that size: {COMMAND} {asked}",
            )

    def of_rows(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return the places (n,) of some rows in the best draw; NaN for rows that are not in it."""
        places = np.array([self.place_of.get(row.row_id, np.nan) for row in rows], dtype=np.float64)
        present = int(np.isfinite(places).sum())
        if present < len(self.place_of):
            raise UserError(
                f"{len(self.place_of) - present} of the {len(self.place_of)} rows of the best draw of {self.path} are "
                "no candidates here.",
                f"Select with the bounds and checks it was made with, or make it again: {COMMAND}",
            )
        return places


def draws_dir() -> Path:
    """Where draws live."""
    return home() / "draws"


def read_draws(given: str | Path) -> Draws:
    """The finished draws at a path or of a name; their files must have the digests that the manifest recorded."""
    folder = find_artifact(given, draws_dir(), KIND)
    manifest = read_manifest(folder, KIND)
    again = f"Make it again: {COMMAND}"
    record = DrawsRecord.read(folder, manifest, again)
    place_of = read_by_row(folder, manifest, PICKED, again, "a draw", lambda place, _: place)
    return Draws(folder, manifest, record, place_of)
