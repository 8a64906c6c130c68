"""The comparison artifact: what each strategy picked, measured, and the record of it on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from curate.artifact import Lifts, Record, RecordPart, read_manifest

KIND = "curate.comparison"
PAGE = "index.html"
RECORD = "comparison.json"
CLOSE_COSINE = 0.9  # pairs of picks at least this near are counted, though they are no near-duplicates yet


class StrategyPicks(RecordPart):
    """What one strategy picked, measured on the candidates. None, with its `reason`, where it could not pick.

    Distances are 1 minus cosine, from every candidate to its nearest pick; `facility_location` is the sum of the
    cosines (Cornuejols et al., 1977). Shares are of the picked rows, 0 to 1; `shared` is the share of the picks that
    another strategy picked too. `lengths` are the 5th, 50th and 95th percentile of the picks' token counts.
    """

    strategy: str
    rows: int = 0
    tokens: int = 0
    mean_distance: float | None = None
    worst_distance: float | None = None
    facility_location: float | None = None
    vendi_score: float | None = None
    clusters_with_a_pick: int | None = None
    evenness: float | None = None
    near_duplicate_pairs: int | None = None
    close_pairs: int | None = None
    lengths: tuple[int, int, int] | None = None
    cluster_shares: tuple[float, ...] = ()
    sources: dict[str, float] | None = None
    languages: dict[str, float] | None = None
    shared: dict[str, float] | None = None
    reason: str | None = None


class ComparisonRecord(Record):
    """What `comparison.json` holds: the answer, and every strategy's result in the order asked for."""

    file: ClassVar[str] = RECORD
    lifts: ClassVar[Lifts] = {1: lambda content: content}

    schema_: Literal["curate.comparison/2"] = Field(default="curate.comparison/2", alias="schema")
    headline: str
    results: list[StrategyPicks]


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: its folder, its record, and from its manifest the config and the seconds of every step."""

    path: Path
    record: ComparisonRecord
    seconds: dict[str, float]
    config: dict[str, Any]

    @property
    def results(self) -> list[StrategyPicks]:
        """Return every strategy's result, in the order asked for."""
        return self.record.results

    def pick_seconds(self, strategy: str) -> float | None:
        """Return the seconds a strategy took to pick."""
        return self.seconds.get(f"pick {strategy}")

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        results = [r.model_dump(mode="json") | {"seconds": self.pick_seconds(r.strategy)} for r in self.results]
        return {"path": str(self.path), "headline": self.record.headline, "results": results}


def read_comparison(folder: Path) -> Comparison:
    """Return a finished comparison, read back."""
    manifest = read_manifest(folder, KIND)
    record = ComparisonRecord.read(folder, manifest, "Make the comparison again.")
    return Comparison(folder, record, manifest.seconds, manifest.config)
