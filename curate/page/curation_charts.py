"""The charts of a selection: the map of pool and picks, lengths before and after, and why rows were left out."""

from __future__ import annotations

import altair as alt

from curate.page.chart import Chart, ChartTable, build_spec, unchecked
from curate.page.curation import CurationView, short_label
from curate.page.numbers import format_count, format_share
from curate.page.palette import light


def curation_charts(view: CurationView, prefix: str) -> list[Chart]:
    """Map, length histogram and drop reasons of a view, with ids that begin with `prefix`; only those with data."""
    with unchecked():
        charts = [_map_chart(view, prefix)] if view.points else []
        charts += [_length_chart(view, prefix)] if view.lengths else []
        charts += [_reason_chart(view, prefix)] if view.reasons else []
    return charts


def _map_chart(view: CurationView, prefix: str) -> Chart:
    shown_picks = sum(point.picked for point in view.points)
    shown_pool = len(view.points) - shown_picks
    values = [
        {"x": p.x, "y": p.y, "cluster": p.cluster, "row": "picked" if p.picked else "pool", "text": p.label}
        for p in view.points
    ]
    data = alt.InlineData(values=values)
    clusters = sorted({p.cluster for p in view.points if p.cluster is not None})
    examples = {share.cluster: share.examples[0] for share in view.clusters if share.examples}
    options = alt.binding_select(
        options=["all", *map(str, clusters)],
        labels=["all", *(f"{c}: {short_label(examples.get(c, ''), 40)}".rstrip(": ") for c in clusters)],
        name="Show cluster ",
    )
    choose = alt.param(name="only", value="all", bind=options)
    is_pick = "datum.row == 'picked'"
    zoom = alt.selection_interval(
        name="zoom", bind="scales", zoom="wheel![event.shiftKey]", translate="[mousedown, mouseup] > mousemove!"
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
        f"{view.touched_clusters} of {len(view.clusters)} clusters.",
        spec,
        ChartTable(
            ["Cluster", "Rows", "Picks", "Share of the pool", "Share of the picks"],
            table_rows,
            "The 25 largest clusters." if len(view.clusters) > 25 else "",
        ),
        caption=f"{note}Point at a row to read it; drag to move; zoom with the buttons, or Shift and wheel. Distances "
        "are a reading aid, not a measure.",
        many_marks=True,
        legend=[("s0", "picked"), ("pool", "pool")],
    )


def _length_chart(view: CurationView, prefix: str) -> Chart:
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
