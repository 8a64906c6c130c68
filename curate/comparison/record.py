"""The comparison artifact: what each strategy picked, measured, and the record of it on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curate.artifact import read_manifest, read_output

KIND = "curate.comparison"


SCHEMA = f"{KIND}/1"


PAGE = "index.html"


RECORD = "comparison.json"


CLOSE_COSINE = 0.9  # pairs of picks at least this near are counted, though they are no near-duplicates yet


@dataclass(frozen=True)
class StrategyPicks:
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


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: its folder, its results in the order asked for, and the seconds each strategy took."""

    path: Path
    results: list[StrategyPicks]
    seconds: dict[str, float]
    config: dict[str, Any]

    def as_record(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "path": str(self.path),
            "headline": self.config["headline"],
            "results": [asdict(r) | {"seconds": self.seconds.get(f"pick {r.strategy}")} for r in self.results],
        }


def read_comparison(folder: Path) -> Comparison:
    """A finished comparison, read back."""
    manifest = read_manifest(folder, KIND)
    record = json.loads(read_output(folder, manifest, RECORD, "Make the comparison again."))
    results = [_read_result(entry) for entry in record["results"]]
    return Comparison(folder, results, manifest.seconds, manifest.config)


def _read_result(entry: dict[str, Any]) -> StrategyPicks:
    whole: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return StrategyPicks(**whole)
