"""What `evalsuite mixture` leaves behind: weights of features of rows, or shares of a pool's strata, and why these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from curate.artifact import Lifts, Record, RecordPart, find_artifact, home, read_manifest
from curate.artifact.manifest_schema import Manifest
from curate.errors import UserError
from curate.pool.rows import Row
from curate.scores.by_row import read_by_row
from curate.scores.made_for import MadeFor

KIND = "evaluate_suite.mixture"
BY_FEATURES, BY_STRATA = "features", "strata"
# By what a mixture is made: the file of its rows, and the name of a row's value there.
OF_ROWS = {BY_FEATURES: ("weights.jsonl", "log_weight"), BY_STRATA: ("strata.jsonl", "stratum")}
COMMAND = "evalsuite mixture"
APART = -1.0  # the stratum of rows that are kept apart: those the law was steered by, and near-duplicates of them


class Stratum(RecordPart):
    """Rows of one kind: their tokens in the pool, the pool's share of tokens, and the share that a selection takes."""

    name: str
    rows: int
    tokens: int
    pool_share: float
    share: float


class Feature(RecordPart):
    """A feature of rows, and by how much a step of it changes the logarithm of a row's weight in a draw."""

    name: str
    weight: float


class ProxyRun(RecordPart):
    """A small training with weights of the features, or shares of its tokens, of its own, and the loss (nats a token)
    it was judged by."""

    number: int
    shares: list[float] = Field(default_factory=list)
    weights: list[float] = Field(default_factory=list)
    loss: float


class Law(RecordPart):
    """What was learnt of the loss, and whether to believe it.

    `rank_correlation` is Spearman's between measured losses and those predicted by laws that had not seen the run;
    below `min_correlation` nobody is to believe the law. `predicted_pool_loss` is that of a draw of the whole pool.
    """

    rank_correlation: float
    min_correlation: float
    predicted_loss: float
    predicted_pool_loss: float


class MixingLaw(Law):
    """log loss = intercept + sum over strata of coefficient x log(share + floor), fitted by ridge regression."""

    intercept: float
    coefficients: list[float]
    floor: float
    alpha: float


class WeightsLaw(Law):
    """log loss = level of the draw + sum over features of slope x weight + curvature x sum of squared weights.

    Fitted by ridge regression of that strength (`alpha`); `level` is the mean over the runs.
    """

    level: float
    slopes: list[float]
    curvature: float
    alpha: float


class MixtureRecord(Record):
    """Features and weights, or strata and shares. `law` is None where these were not fitted: those of a proxy run."""

    file: ClassVar[str] = "mixture.json"
    lifts: ClassVar[Lifts] = {1: lambda content: content}  # 2 added the features

    schema_: Literal["evaluate_suite.mixture/2"] = Field(default="evaluate_suite.mixture/2", alias="schema")
    made_for: MadeFor
    by: Literal["features", "strata"] = "strata"
    strata: list[Stratum] = Field(default_factory=list)
    features: list[Feature] = Field(default_factory=list)
    judged_by: str
    law: MixingLaw | WeightsLaw | None = None
    proxies: list[ProxyRun] = Field(default_factory=list)


@dataclass(frozen=True)
class Mixture:
    """A finished mixture, read back. `value_of` is, by row_id, the logarithm of the row's weight, or the place of its
    stratum among the record's."""

    path: Path
    manifest: Manifest
    record: MixtureRecord
    value_of: Mapping[str, float]

    def require_believed(self) -> None:
        """Raise a `UserError` where the law's rank correlation is below its bound."""
        law = self.record.law
        fewer = ", fewer strata (--clusters 1)" if self.record.by == BY_STRATA else ""
        if law is not None and law.rank_correlation < law.min_correlation:
            raise UserError(
                f"The mixing law {self.path.name} is not to be believed: its cross-validated rank correlation is "
                f"{law.rank_correlation:.2f}, below {law.min_correlation:g}.",
                f"More --proxies{fewer} or a larger --spread can raise it; or take random.",
            )

    def of_rows(self, rows: Sequence[Row]) -> dict[str, NDArray[np.float64]]:
        """Return arrays (n,) by name: the logarithm of each row's weight, or its stratum and the share of the tokens
        that this is to give.

        Rows that were kept apart have no weight (NaN) or no share. Where most rows have none, the selection is of other
        rows: an error.
        """
        _, name = OF_ROWS[self.record.by]
        none = APART if self.record.by == BY_STRATA else np.nan
        values = np.array([self.value_of.get(row.row_id, none) for row in rows], dtype=np.float64)
        missing = sum(row.row_id not in self.value_of for row in rows)
        if missing > len(rows) / 2:
            raise UserError(
                f"{missing} of {len(rows)} candidates have no {name.replace('_', ' ')} in {self.path}.",
                f"Make one with the same bounds and checks: {COMMAND}",
            )
        if self.record.by == BY_FEATURES:
            return {name: values}
        shares = np.array([*(each.share for each in self.record.strata), 0.0])
        return {name: values, "stratum_share": shares[values.astype(np.int64)]}


def mixtures_dir() -> Path:
    """Where mixtures live."""
    return home() / "mixtures"


def read_mixture(given: str | Path) -> Mixture:
    """The finished mixture at a path or of a name; its files must have the digests that its manifest recorded."""
    folder = find_artifact(given, mixtures_dir(), KIND)
    manifest = read_manifest(folder, KIND)
    again = f"Make it again: {COMMAND}"
    record = MixtureRecord.read(folder, manifest, again)
    file, name = OF_ROWS[record.by]
    value_of = read_by_row(folder, manifest, file, again, f"a {name} of each row", lambda _, line: float(line[name]))
    return Mixture(folder, manifest, record, value_of)
