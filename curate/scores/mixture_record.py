"""What `evalsuite mixture` leaves behind: strata of a pool, the share of the tokens each is to give, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from curate.artifact import Record, RecordPart, find_artifact, home, read_manifest
from curate.artifact.manifest_schema import Manifest
from curate.errors import UserError
from curate.pool.rows import Row
from curate.scores.by_row import read_by_row
from curate.scores.made_for import MadeFor

KIND = "evaluate_suite.mixture"
STRATA = "strata.jsonl"
COMMAND = "evalsuite mixture"
APART = -1.0  # the stratum of rows that are kept apart: those the law was steered by, and near-duplicates of them


class Stratum(RecordPart):
    """Rows of one kind: their tokens in the pool, the pool's share of tokens, and the share that a selection takes."""

    name: str
    rows: int
    tokens: int
    pool_share: float
    share: float


class ProxyRun(RecordPart):
    """A small training with shares of its own: those of its tokens, and the loss (nats a token) it was judged by."""

    number: int
    shares: list[float]
    loss: float


class MixingLaw(RecordPart):
    """log loss = intercept + sum over strata of coefficient x log(share + floor), fitted by ridge regression.

    `rank_correlation` is Spearman's between measured losses and those predicted by laws that had not seen the run;
    below `min_correlation` nobody is to believe the law.
    """

    intercept: float
    coefficients: list[float]
    floor: float
    alpha: float
    rank_correlation: float
    min_correlation: float
    predicted_loss: float
    predicted_pool_loss: float


class MixtureRecord(Record):
    """Strata and shares. `law` is None where shares were not fitted: those of a proxy run."""

    file: ClassVar[str] = "mixture.json"

    schema_: Literal["evaluate_suite.mixture/1"] = Field(default="evaluate_suite.mixture/1", alias="schema")
    made_for: MadeFor
    strata: list[Stratum]
    judged_by: str
    law: MixingLaw | None = None
    proxies: list[ProxyRun] = Field(default_factory=list)


@dataclass(frozen=True)
class Mixture:
    """A finished mixture, read back. `stratum_of` is the place in the record's strata, by row_id."""

    path: Path
    manifest: Manifest
    record: MixtureRecord
    stratum_of: Mapping[str, int]

    def require_believed(self) -> None:
        """Raise a `UserError` where the law's rank correlation is below its bound."""
        law = self.record.law
        if law is not None and law.rank_correlation < law.min_correlation:
            raise UserError(
                f"The mixing law {self.path.name} is not to be believed: its cross-validated rank correlation is "
                f"{law.rank_correlation:.2f}, below {law.min_correlation:g}.",
                "More --proxies, a larger --spread or fewer strata (--clusters 1) can raise it; or take random.",
            )

    def of_rows(self, rows: Sequence[Row]) -> dict[str, NDArray[np.float64]]:
        """Return two arrays (n,) by name: the stratum of each row, and the share of the tokens that it is to give.

        Rows that were kept apart have no share. Where most rows have none, the selection is of other rows: an error.
        """
        stratum = np.array([self.stratum_of.get(row.row_id, APART) for row in rows], dtype=np.float64)
        missing = int((stratum == APART).sum())
        if missing > len(rows) / 2:
            raise UserError(
                f"{missing} of {len(rows)} candidates are in no stratum of {self.path}.",
                f"Make one with the same bounds and checks: {COMMAND}",
            )
        shares = np.array([*(each.share for each in self.record.strata), 0.0])
        return {"stratum": stratum, "stratum_share": shares[stratum.astype(np.int64)]}


def mixtures_dir() -> Path:
    """Where mixtures live."""
    return home() / "mixtures"


def read_mixture(given: str | Path) -> Mixture:
    """The finished mixture at a path or of a name; its files must have the digests that its manifest recorded."""
    folder = find_artifact(given, mixtures_dir(), KIND)
    manifest = read_manifest(folder, KIND)
    again = f"Make it again: {COMMAND}"
    record = MixtureRecord.read(folder, manifest, again)
    stratum_of = read_by_row(folder, manifest, STRATA, again, "strata", lambda _, line: int(line["stratum"]))
    return Mixture(folder, manifest, record, stratum_of)
