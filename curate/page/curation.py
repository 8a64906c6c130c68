"""What a selection looks like, measured from its decisions: places on the map, lengths, drop reasons, clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray
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
    decisions: Mapping[str, Any],
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
    table = _Decisions.of(decisions)
    excluded = table.reason.filter(pyarrow.array(table.has_fate(EXCLUDED)))
    return CurationView(
        name=name,
        pool_rows=len(table.fate),
        mapped_rows=int(table.placed.sum()),
        picked_rows=int(table.picked.sum()),
        picked_tokens=int(table.token_counts[table.picked].sum()),
        counts=dict(sorted(_sizes(table.fate).items())),
        reasons=sorted(_sizes(excluded).items(), key=lambda item: (-item[1], item[0])),
        lengths=_length_bins(table.token_counts, table.picked),
        clusters=_cluster_shares(table, texts),
        points=_sample_points(table, texts, shown_pool, shown_picks),
        coverage=dict(coverage or {}),
    )


@dataclass(frozen=True)
class _Decisions:
    """Columns of `decisions.parquet`: texts as Arrow arrays, numbers in arrays; `cluster` is -1 where there is none."""

    row_id: Any
    fate: Any
    reason: Any
    token_counts: NDArray[np.int64]
    cluster: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    placed: NDArray[np.bool_]
    picked: NDArray[np.bool_]

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> _Decisions:
        """Return the columns of an Arrow table, or of lists."""

        def column(name: str, kind: Any) -> Any:
            values = columns[name]
            array = values if isinstance(values, pyarrow.ChunkedArray) else pyarrow.chunked_array([values], kind)
            return array.cast(kind).combine_chunks()

        text, whole, real = pyarrow.large_string(), pyarrow.int64(), pyarrow.float64()
        fate, x = column("fate", text), column("x", real)
        return cls(
            row_id=column("row_id", text),
            fate=fate,
            reason=column("reason", text),
            token_counts=column("token_count", whole).to_numpy(zero_copy_only=False),
            cluster=column("cluster", whole).fill_null(-1).to_numpy(zero_copy_only=False),
            x=x.to_numpy(zero_copy_only=False),
            y=column("y", real).to_numpy(zero_copy_only=False),
            placed=x.is_valid().to_numpy(zero_copy_only=False),
            picked=_is(fate, SELECTED),
        )

    def has_fate(self, fate: str) -> NDArray[np.bool_]:
        """Return which rows have that fate (n,)."""
        return _is(self.fate, fate)

    def row_ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the row_ids of some rows."""
        return list(self.row_id.take(pyarrow.array(rows)).to_pylist())


def _is(texts: Any, wanted: str) -> NDArray[np.bool_]:
    return np.asarray(pyarrow.compute.equal(texts, wanted).to_numpy(zero_copy_only=False), dtype=bool)


def _sizes(texts: Any) -> dict[str, int]:
    return {str(each["values"]): each["counts"] for each in texts.value_counts().to_pylist()}


def _length_bins(counts: NDArray[np.int64], picked: NDArray[np.bool_]) -> list[LengthBin]:
    """At most 32 bins of a round width; the last one takes everything from the 98th percentile of the pool on."""
    if not len(counts):
        return []
    ordered = np.sort(counts)
    top = max(int(ordered[min(len(ordered) - 1, int(0.98 * len(ordered)))]), 1)
    width = next(w for w in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 5000, 20000, 1 << 30) if top / w < 32)
    last = top // width
    pool, mine = (
        np.bincount(np.minimum(each // width, last), minlength=last + 1).tolist() for each in (counts, counts[picked])
    )
    ends = [(b + 1) * width for b in range(last)] + [max((last + 1) * width, int(ordered[-1]) + 1)]
    return [LengthBin(b * width, ends[b], pool[b], mine[b]) for b in range(last + 1)]


def _cluster_shares(table: _Decisions, texts: Mapping[str, str]) -> list[ClusterShare]:
    rows = np.flatnonzero((table.cluster >= 0) & (table.picked | table.has_fate(NOT_PICKED)))
    rows = rows[np.argsort(table.cluster[rows], kind="stable")]
    total, total_picked = len(rows), int(table.picked.sum())
    starts = np.flatnonzero(np.diff(table.cluster[rows], prepend=-1))
    shares = []
    for members in np.split(rows, starts[1:]) if total else []:
        mine = members[table.picked[members]]
        row_ids = sorted(table.row_ids(mine if len(mine) else members))
        shares.append(
            ClusterShare(
                int(table.cluster[members[0]]),
                len(members),
                len(mine),
                len(members) / total,
                len(mine) / total_picked if total_picked else 0.0,
                tuple(
                    short_label(texts[row_id], 140) for row_id in islice(filter(texts.__contains__, row_ids), EXAMPLES)
                ),
            )
        )
    return sorted(shares, key=lambda share: (-share.rows, share.cluster))


def _sample_points(table: _Decisions, texts: Mapping[str, str], shown_pool: int, shown_picks: int) -> list[MapPoint]:
    def first(rows: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        keyed = pyarrow.table({"row_id": table.row_id.take(pyarrow.array(rows)), "row": rows})
        by = [("row_id", "ascending"), ("row", "ascending")]
        return rows[np.asarray(pyarrow.compute.select_k_unstable(keyed, min(n, len(rows)), by))] if len(rows) else rows

    others = first(np.flatnonzero(table.placed & ~table.picked), shown_pool)
    rows = np.concatenate([others, first(np.flatnonzero(table.placed & table.picked), shown_picks)])
    return [
        MapPoint(
            round(float(table.x[row]), 3),
            round(float(table.y[row]), 3),
            None if table.cluster[row] < 0 else int(table.cluster[row]),
            bool(table.picked[row]),
            short_label(texts[row_id]) if row_id in texts else "",
        )
        for row, row_id in zip(rows.tolist(), table.row_ids(rows), strict=True)
    ]


def short_label(text: str, limit: int = LABEL_CHARS) -> str:
    """The beginning of `text` on one line, control characters spelt out, with an ellipsis where it was cut."""
    line = " ".join(visible_text(text[: limit * 3]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
