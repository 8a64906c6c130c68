"""What a selection looks like, measured from its decisions: places on the map, lengths, drop reasons, clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from curate.artifact import RecordPart
from curate.page.source_text import visible_text
from curate.pool.fates import EXCLUDED, NOT_PICKED, SELECTED

SHOWN_PICKS = 1000
SHOWN_POOL = 3000
LABEL_CHARS = 72
EXAMPLES = 2


@dataclass(frozen=True, slots=True)
class MapPoint:
    """One row on the map; `label` is the beginning of its instruction, empty where the text is not at hand."""

    x: float
    y: float
    cluster: int | None
    picked: bool
    label: str


@dataclass(frozen=True, slots=True)
class LengthBin:
    """Rows with `low` <= tokens < `high`: in the pool, among the picks."""

    low: int
    high: int
    pool: int
    picked: int


@dataclass(frozen=True, slots=True)
class ClusterShare:
    """One cluster: its rows, its share of the embedded pool and of the picks (0 to 1), and some of its rows."""

    cluster: int
    rows: int
    picked: int
    pool_share: float
    picked_share: float
    examples: tuple[str, ...]


class CurationView(RecordPart):
    """Everything the curation part of a page shows about one selection. The points of its map stand in no file."""

    name: str
    pool_rows: int
    mapped_rows: int
    picked_rows: int
    picked_tokens: int
    counts: dict[str, int]
    reasons: list[tuple[str, int]]
    lengths: list[LengthBin]
    clusters: list[ClusterShare]
    points: list[MapPoint] = Field(default_factory=list, exclude=True)
    coverage: dict[str, float | None] = Field(default_factory=dict)

    @property
    def most_share(self) -> float:
        """The largest share of any cluster, of the pool or of the picks: what bars are drawn against."""
        return max((max(share.pool_share, share.picked_share) for share in self.clusters), default=0.0)

    @property
    def touched_clusters(self) -> int:
        """Clusters with at least one pick."""
        return sum(share.picked > 0 for share in self.clusters)


def build_curation(
    name: str,
    decisions: Mapping[str, Sequence[Any]],
    texts: Mapping[str, str],
    coverage: Mapping[str, float | None] | None = None,
    *,
    shown_pool: int = SHOWN_POOL,
    shown_picks: int = SHOWN_PICKS,
) -> CurationView:
    """The view of a selection from the columns of its `decisions.parquet`; `texts` gives instructions by row_id.

    Maps of more rows than asked for show a sample: the rows with the smallest row_id, which is a digest and so has
    nothing to do with content.
    """
    fates, reasons, counts = decisions["fate"], decisions["reason"], decisions["token_count"]
    picked = [i for i, fate in enumerate(fates) if fate == SELECTED]
    return CurationView(
        name=name,
        pool_rows=len(fates),
        mapped_rows=sum(x is not None for x in decisions["x"]),
        picked_rows=len(picked),
        picked_tokens=sum(int(counts[i]) for i in picked),
        counts=dict(sorted(Counter(map(str, fates)).items())),
        reasons=sorted(
            Counter(str(r) for f, r in zip(fates, reasons, strict=True) if f == EXCLUDED).items(),
            key=lambda item: (-item[1], item[0]),
        ),
        lengths=_length_bins([int(n) for n in counts], set(picked)),
        clusters=_cluster_shares(decisions, set(picked), texts),
        points=_sample_points(decisions, texts, shown_pool, shown_picks),
        coverage=dict(coverage or {}),
    )


def _length_bins(counts: Sequence[int], picked: set[int]) -> list[LengthBin]:
    """At most 32 bins of a round width; the last one takes everything from the 98th percentile of the pool on."""
    if not counts:
        return []
    ordered = sorted(counts)
    top = max(ordered[min(len(ordered) - 1, int(0.98 * len(ordered)))], 1)
    width = next(w for w in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 5000, 20000, 1 << 30) if top / w < 32)
    last = top // width
    pool = Counter(min(n // width, last) for n in counts)
    mine = Counter(min(counts[i] // width, last) for i in picked)
    ends = [(b + 1) * width for b in range(last)] + [max((last + 1) * width, ordered[-1] + 1)]
    return [LengthBin(b * width, ends[b], pool[b], mine[b]) for b in range(last + 1)]


def _cluster_shares(
    decisions: Mapping[str, Sequence[Any]], picked: set[int], texts: Mapping[str, str]
) -> list[ClusterShare]:
    members: dict[int, list[int]] = {}
    for i, cluster in enumerate(decisions["cluster"]):
        if cluster is not None and decisions["fate"][i] in (SELECTED, NOT_PICKED):
            members.setdefault(int(cluster), []).append(i)
    total, total_picked = sum(map(len, members.values())), len(picked)
    shares = []
    for cluster, rows in members.items():
        mine = [i for i in rows if i in picked]
        with_text = sorted(decisions["row_id"][i] for i in mine or rows if decisions["row_id"][i] in texts)
        shares.append(
            ClusterShare(
                cluster,
                len(rows),
                len(mine),
                len(rows) / total,
                len(mine) / total_picked if total_picked else 0.0,
                tuple(short_label(texts[row_id], 140) for row_id in with_text[:EXAMPLES]),
            )
        )
    return sorted(shares, key=lambda share: (-share.rows, share.cluster))


def _sample_points(
    decisions: Mapping[str, Sequence[Any]], texts: Mapping[str, str], shown_pool: int, shown_picks: int
) -> list[MapPoint]:
    placed = [i for i, x in enumerate(decisions["x"]) if x is not None]
    picked = [i for i in placed if decisions["fate"][i] == SELECTED]
    others = [i for i in placed if decisions["fate"][i] != SELECTED]

    def first(rows: list[int], n: int) -> list[int]:
        return sorted(rows, key=lambda i: (decisions["row_id"][i], i))[:n]

    points = []
    for i in first(others, shown_pool) + first(picked, shown_picks):
        cluster, row_id = decisions["cluster"][i], decisions["row_id"][i]
        points.append(
            MapPoint(
                round(float(decisions["x"][i]), 3),
                round(float(decisions["y"][i]), 3),
                None if cluster is None else int(cluster),
                decisions["fate"][i] == SELECTED,
                short_label(texts[row_id]) if row_id in texts else "",
            )
        )
    return points


def short_label(text: str, limit: int = LABEL_CHARS) -> str:
    """The beginning of `text` on one line, control characters spelt out, with an ellipsis where it was cut."""
    line = " ".join(visible_text(text[: limit * 3]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
