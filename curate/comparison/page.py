"""The page of `curate compare`: every strategy in one table, one map to switch between them, and what they share."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from curate.comparison.record import CLOSE_COSINE, StrategyPicks
from curate.config import CompareConfig
from curate.page import Chart, ChartTable, format_number, format_share, render_document
from curate.page.chart import build_spec, unchecked
from curate.page.curation import short_label
from curate.page.palette import light
from curate.selection.steps import Prepared
from curate.strategies.types import Candidates
from curate.vectors.map_layout import lay_out

SHOWN_POOL = 2000
SHOWN_PICKS = 400  # of each strategy
SHOWN_KINDS = 8  # languages, and sources
SHOWN_CLUSTERS = 24


@dataclass(frozen=True)
class ClusterRow:
    """One cluster of the candidates: its share of them, and an example."""

    cluster: int
    share: float
    example: str


@dataclass(frozen=True)
class ComparisonPageData:
    """What the page is made of. `points` are (x, y, cluster, label, strategies that picked the row)."""

    name: str
    headline: str
    second: str
    results: Sequence[StrategyPicks]
    seconds: Mapping[str, float]
    facts: Sequence[tuple[str, str]]
    points: Sequence[tuple[float, float, int, str, tuple[str, ...]]]
    n_candidates: int
    clusters: Sequence[ClusterRow]
    notes: Sequence[str]
    config: Mapping[str, Any]
    command: str


def build_page_data(
    prepared: Prepared,
    candidates: Candidates,
    places: Mapping[str, Sequence[int]],
    results: Sequence[StrategyPicks],
    seconds: Mapping[str, float],
    name: str,
    answer: tuple[str, str],
    options: Mapping[str, Mapping[str, Any]],
) -> ComparisonPageData:
    """The page's data from finished work; `places` are each strategy's picks as positions among the candidates,
    `options` each strategy's own options."""
    pool, config = prepared.pool, prepared.pool.config
    n = len(candidates)
    sizes = np.bincount(candidates.labels, minlength=len(candidates.centres))
    first = {int(label): place for place, label in reversed(list(enumerate(candidates.labels.tolist())))}
    clusters = [
        ClusterRow(c, size / n, short_label(pool.rows[int(prepared.candidates[first[c]])].instruction, 100))
        for c, size in enumerate(sizes.tolist())
        if size
    ]
    own = {name: value for of_one in options.values() for name, value in of_one.items()}
    asked = CompareConfig(strategies=tuple(result.strategy for result in results), options=own, pool=config)
    return ComparisonPageData(
        name=name,
        headline=answer[0],
        second=answer[1],
        results=results,
        seconds={r.strategy: seconds[f"pick {r.strategy}"] for r in results},
        facts=[
            ("Pool", f"{len(pool.rows):,} rows"),
            ("Candidates", f"{n:,}"),
            ("Asked for", f"{config.k:,} rows" if config.token_budget is None else f"{config.token_budget:,} tokens"),
            ("Encoder", config.encoder),
            ("Held out", f"{len(prepared.split.held_out):,} rows"),
        ],
        points=_points(prepared, candidates, places),
        n_candidates=n,
        clusters=clusters,
        notes=prepared.split.notes,
        config={k: v for k, v in config.as_record().items() if k not in ("strategy", "strategy_options")},
        command=shlex.join(asked.as_command()),
    )


def _points(
    prepared: Prepared, candidates: Candidates, places: Mapping[str, Sequence[int]]
) -> list[tuple[float, float, int, str, tuple[str, ...]]]:
    """A sample: the first rows by row_id (a digest, so nothing to do with content), and of every strategy's picks."""
    shown = set(range(min(SHOWN_POOL, len(candidates))))
    picked_by: dict[int, list[str]] = {}
    for name, picks in places.items():
        for place in picks:
            picked_by.setdefault(place, []).append(name)
        shown.update(sorted(picks)[:SHOWN_PICKS])
    order = sorted(shown)
    xy = lay_out(candidates.embeddings[order], candidates.centres)
    return [
        (
            round(float(xy[i, 0]), 3),
            round(float(xy[i, 1]), 3),
            int(candidates.labels[place]),
            short_label(prepared.pool.rows[int(prepared.candidates[place])].instruction),
            tuple(picked_by.get(place, ())),
        )
        for i, place in enumerate(order)
    ]


def render_comparison_page(data: ComparisonPageData) -> str:
    """The page as one HTML document that needs no network. Same data, same bytes (times are part of the data)."""
    done = [result for result in data.results if result.reason is None]
    with unchecked():
        charts = [_distance_chart(done), _map_chart(data, done)]
    return render_document(
        "comparison.html",
        {
            "data": data,
            "done": done,
            "failed": [result for result in data.results if result.reason is not None],
            "charts": charts,
            "close_cosine": format_number(CLOSE_COSINE, 2),
            "near_duplicate": data.config["near_duplicate"],
            "mixes": [_mix("Languages", done, "languages"), _mix("Sources", done, "sources")],
            "shown_clusters": sorted(data.clusters, key=lambda c: (-c.share, c.cluster))[:SHOWN_CLUSTERS],
            "config": [(name, "–" if value is None else str(value)) for name, value in sorted(data.config.items())],
        },
        charts=charts,
    )


def _mix(title: str, done: Sequence[StrategyPicks], field: str) -> tuple[str, list[str], int, str]:
    """(title, the kinds with the largest share over all strategies, how many more there are, field of the result)."""
    total: dict[str, float] = {}
    for result in done:
        for name, share in getattr(result, field).items():
            total[name] = total.get(name, 0.0) + share
    names = sorted(total, key=lambda name: (-total[name], name))
    return title, names[:SHOWN_KINDS], max(0, len(names) - SHOWN_KINDS), field


def nearest_of(done: Sequence[StrategyPicks]) -> list[StrategyPicks]:
    """Return those of the strategies that picked whose picks lie nearest to the pool, by name.

    They are several where the mean distance reads the same: a difference that nobody is shown makes no best.
    """
    least = format_number(min(r.mean_distance or 0.0 for r in done))
    return sorted((r for r in done if format_number(r.mean_distance) == least), key=lambda r: r.strategy)


def _distance_chart(done: Sequence[StrategyPicks]) -> Chart:
    """Mean distance of the pool to the nearest pick against the Vendi score: one named point a strategy."""
    ordered = sorted(done, key=lambda r: (r.mean_distance or 0.0, r.strategy))
    values = [  # names go above and below in turn, so that neighbours can be told apart
        {"strategy": r.strategy, "distance": r.mean_distance, "vendi": r.vendi_score, "above": place % 2 == 0}
        for place, r in enumerate(ordered)
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("vendi:Q", title="Vendi score: how many different rows", scale=alt.Scale(zero=False, padding=30)),
        y=alt.Y("distance:Q", title="mean distance to the nearest pick", scale=alt.Scale(zero=False, padding=20)),
        tooltip=["strategy:N", alt.Tooltip("distance:Q", format=".4f"), alt.Tooltip("vendi:Q", format=".1f")],
    )
    is_bar = "datum.strategy == 'random'"
    chart = alt.layer(
        base.mark_circle(size=90, opacity=1).encode(
            color=alt.condition(is_bar, alt.value(light("s1")), alt.value(light("s0")))
        ),
        *(
            base.transform_filter(f"datum.above == {above}")
            .mark_text(align="center", dy=shift, color=light("ink"), fontSize=12)
            .encode(text="strategy:N")
            for above, shift in (("true", -13), ("false", 15))
        ),
    )
    nearest = nearest_of(done)
    named = nearest[0].strategy if len(nearest) == 1 else f"{len(nearest)} of {len(done)}"
    return Chart(
        "spread",
        "Coverage and variety",
        f"{named} come{'s' if len(nearest) == 1 else ''} nearest to the pool, "
        f"{format_number(nearest[0].mean_distance)} on average.",
        build_spec(chart, 320),
        ChartTable(
            ["Strategy", "Mean distance", "Vendi score"],
            [[r.strategy, format_number(r.mean_distance, 4), format_number(r.vendi_score, 1)] for r in done],
        ),
        caption="Lower is nearer to the pool, further right is more varied. The orange point is random, the bar.",
    )


def _map_chart(data: ComparisonPageData, done: Sequence[StrategyPicks]) -> Chart:
    values = [
        {"x": x, "y": y, "cluster": cluster, "text": text, "by": ", ".join(by) or "no strategy"}
        for x, y, cluster, text, by in data.points
    ]
    names = [result.strategy for result in done]
    chosen = alt.param(name="chosen", value=names[0], bind=alt.binding_select(options=names, name="Picks of "))
    zoom = alt.selection_interval(
        name="zoom", bind="scales", zoom="wheel![event.shiftKey]", translate="[mousedown, mouseup] > mousemove!"
    )
    picked = "indexof(split(datum.by, ', '), chosen) >= 0"
    scale = alt.Scale(zero=False, nice=False, padding=8)
    base = (
        alt.Chart(alt.InlineData(values=values))
        .mark_circle()
        .encode(
            x=alt.X("x:Q", axis=None, scale=scale),
            y=alt.Y("y:Q", axis=None, scale=scale),
            tooltip=[
                alt.Tooltip("by:N", title="picked by"),
                alt.Tooltip("cluster:N"),
                alt.Tooltip("text:N"),
            ],
        )
    )
    chart = alt.layer(
        base.encode(color=alt.value(light("pool")), size=alt.value(10), opacity=alt.value(0.55)).add_params(
            chosen, zoom
        ),
        base.transform_filter(picked).encode(color=alt.value(light("s0")), size=alt.value(26), opacity=alt.value(0.85)),
    )
    rows = [[r.strategy, str(r.clusters_with_a_pick), format_share(r.evenness)] for r in done]
    return Chart(
        "compare-map",
        "One map, every strategy's picks",
        f"Rows with similar meaning lie close together. The still drawing shows the picks of {names[0]}, the "
        "live chart those of any strategy.",
        build_spec(chart, 460),
        ChartTable(["Strategy", "Clusters with a pick", "Evenness"], rows),
        caption=f"A sample: {len(data.points):,} of {data.n_candidates:,} candidates. Choose whose picks are shown; "
        "point at a row to read it; drag to move; zoom with the buttons, or Shift and wheel.",
        many_marks=True,
        legend=[("s0", "picked"), ("pool", "candidates")],
    )
