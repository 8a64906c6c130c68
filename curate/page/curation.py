"""What a selection looks like: the map, the lengths, the drop reasons and the clusters, measured from its decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.page.chart import Chart, ChartTable, build_spec
from curate.page.numbers import format_count, format_share
from curate.page.palette import light
from curate.page.source_text import visible_text

SHOWN_PICKS = 1000
SHOWN_POOL = 3000
LABEL_CHARS = 72
EXAMPLES = 2
SELECTED, HELD_OUT, NOT_PICKED, EXCLUDED = "selected", "held_out", "not_picked", "excluded"


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


@dataclass(frozen=True)
class CurationView:
    """Everything the curation part of a page shows about one selection."""

    name: str
    pool_rows: int
    mapped_rows: int
    picked_rows: int
    counts: dict[str, int]
    reasons: list[tuple[str, int]]
    lengths: list[LengthBin]
    clusters: list[ClusterShare]
    points: list[MapPoint]
    coverage: dict[str, float | None] = field(default_factory=dict)


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
                tuple(_label(texts[row_id], 140) for row_id in with_text[:EXAMPLES]),
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
                _label(texts[row_id]) if row_id in texts else "",
            )
        )
    return points


def _label(text: str, limit: int = LABEL_CHARS) -> str:
    line = " ".join(visible_text(text[: limit * 3]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def curation_charts(view: CurationView, prefix: str) -> list[Chart]:
    """Map, length histogram and drop reasons of a view, with ids that begin with `prefix`; only those with data."""
    charts = []
    if view.points:
        charts.append(_map_chart(view, prefix))
    if view.lengths:
        charts.append(_length_chart(view, prefix))
    if view.reasons:
        charts.append(_reason_chart(view, prefix))
    return charts


def _map_chart(view: CurationView, prefix: str) -> Chart:
    import altair as alt

    shown_picks = sum(point.picked for point in view.points)
    shown_pool = len(view.points) - shown_picks
    values = [
        {"x": p.x, "y": p.y, "cluster": p.cluster, "row": "picked" if p.picked else "pool", "text": p.label}
        for p in view.points
    ]
    data = alt.InlineData(values=values)
    clusters = sorted({p.cluster for p in view.points if p.cluster is not None})
    choose = alt.param(
        name="only",
        value="all",
        bind=alt.binding_select(options=["all", *map(str, clusters)], name="Show cluster "),
    )
    is_pick = "datum.row == 'picked'"
    zoom = alt.selection_interval(
        bind="scales", zoom="wheel![event.shiftKey]", translate="[mousedown, mouseup] > mousemove!"
    )
    chart = (
        alt.Chart(data)
        .mark_circle()
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False, nice=False, padding=8)),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False, nice=False, padding=8)),
            color=alt.Color(
                "row:N", legend=None, scale=alt.Scale(domain=["pool", "picked"], range=[light("pool"), light("s0")])
            ),
            size=alt.condition(is_pick, alt.value(26), alt.value(10)),
            opacity=alt.condition(is_pick, alt.value(0.85), alt.value(0.55)),
            tooltip=[alt.Tooltip("row:N"), alt.Tooltip("cluster:N"), alt.Tooltip("text:N")],
        )
        .transform_filter("only == 'all' || toString(datum.cluster) == only")
        .add_params(choose, zoom)
    )
    spec = build_spec(chart, 460)
    sampled = shown_picks < view.picked_rows or len(view.points) < view.mapped_rows
    note = (
        f"A sample: {format_count(shown_pool)} of {format_count(view.mapped_rows - view.picked_rows)} other rows and "
        f"{format_count(shown_picks)} of {format_count(view.picked_rows)} picks. "
        if sampled
        else ""
    )
    touched = sum(share.picked > 0 for share in view.clusters)
    table_rows = [
        [
            str(c.cluster),
            format_count(c.rows),
            format_count(c.picked),
            *map(format_share, (c.pool_share, c.picked_share)),
        ]
        for c in view.clusters[:25]
    ]
    return Chart(
        f"{prefix}-map",
        "Map of the pool and the picks",
        f"Rows with similar meaning lie close together. The {format_count(view.picked_rows)} picks touch "
        f"{touched} of {len(view.clusters)} clusters.",
        spec,
        ChartTable(
            ["Cluster", "Rows", "Picks", "Share of the pool", "Share of the picks"],
            table_rows,
            "The 25 largest clusters." if len(view.clusters) > 25 else "",
        ),
        caption=f"{note}Point at a row to read it; drag to move, Shift and wheel to zoom. Distances are a reading aid, "
        "not a measure.",
        many_marks=True,
        legend=[("s0", "picked"), ("pool", "pool")],
    )


def _length_chart(view: CurationView, prefix: str) -> Chart:
    import altair as alt

    pool = max(1, sum(b.pool for b in view.lengths))
    picked = max(1, sum(b.picked for b in view.lengths))
    width = view.lengths[0].high - view.lengths[0].low
    values = [
        {"low": b.low, "high": b.low + width, "set": name, "share": round(n / total, 5), "rows": n}
        for b in view.lengths
        for name, n, total in (("pool", b.pool, pool), ("picked", b.picked, picked))
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("low:Q", bin="binned", title="tokens in the whole example"),
        x2="high:Q",
        y=alt.Y("share:Q", stack=None, title="share of rows", axis=alt.Axis(format=".0%", tickCount=5)),
        tooltip=["set:N", "low:Q", "rows:Q", alt.Tooltip("share:Q", format=".1%")],
    )
    chart = alt.layer(
        base.mark_bar(color=light("pool"), opacity=0.7, binSpacing=0).transform_filter("datum.set == 'pool'"),
        base.mark_bar(filled=False, stroke=light("s0"), strokeWidth=2, binSpacing=1).transform_filter(
            "datum.set == 'picked'"
        ),
    )
    rows = []
    for b in view.lengths:
        shares = format_share(b.pool / pool), format_share(b.picked / picked)
        rows.append(
            [f"{b.low:,} to {b.high - 1:,}", format_count(b.pool), shares[0], format_count(b.picked), shares[1]]
        )
    most_pool = max(view.lengths, key=lambda b: b.pool)
    most_picked = max(view.lengths, key=lambda b: b.picked)
    return Chart(
        f"{prefix}-lengths",
        "Lengths before and after",
        f"Most pool rows have {most_pool.low:,} to {most_pool.high - 1:,} tokens, most picks "
        f"{most_picked.low:,} to {most_picked.high - 1:,}.",
        build_spec(chart, 240),
        ChartTable(["Tokens", "Pool rows", "Share", "Picks", "Share of picks"], rows),
        caption="The last bar holds everything longer." if view.lengths[-1].high - view.lengths[-1].low > width else "",
        legend=[("s0", "picked"), ("pool", "pool")],
    )


def _reason_chart(view: CurationView, prefix: str) -> Chart:
    import altair as alt

    values = [{"reason": reason.replace("_", " "), "rows": n} for reason, n in view.reasons]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("reason:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, domain=False, ticks=False)),
        x=alt.X("rows:Q", title="rows left out", axis=alt.Axis(tickCount=5, format=",d")),
    )
    bars = base.mark_bar(color=light("s1"), height=14)
    total = sum(n for _, n in view.reasons)
    first = view.reasons[0]
    return Chart(
        f"{prefix}-reasons",
        "Why rows were left out",
        f"{format_count(total)} of {format_count(view.pool_rows)} rows were left out; the most common reason is "
        f"{first[0].replace('_', ' ')} ({format_count(first[1])}).",
        build_spec(bars, 40 + 26 * len(values)),
        ChartTable(
            ["Reason", "Rows", "Share of the pool"],
            [
                [reason.replace("_", " "), format_count(n), format_share(n / view.pool_rows)]
                for reason, n in view.reasons
            ],
        ),
    )
