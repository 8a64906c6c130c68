"""The charts of the study "which rows?"."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.page import Chart, ChartTable
from curate.page.chart import build_spec, unchecked
from curate.page.palette import light


def times(value: float | None) -> str:
    """Return a worth in random's tokens; beyond the budgets that were tried it is not known."""
    return "beyond what was tried" if value is None else f"{value:.2f}"


def worth_chart(numbers: Mapping[str, Any]) -> Chart | None:
    """Return what each selector is worth in random's tokens, by target, with intervals."""
    values = [
        {
            "target": source,
            "selector": e["selector"],
            "worth": e["worth"],
            "low": e["worth_low"],
            "high": e["worth_high"],
        }
        for source, effects in numbers["targets"].items()
        for e in effects
        if e["worth"] is not None
    ]
    if not values:
        return None
    for value in values:
        value["low"], value["high"] = value["low"] or value["worth"], value["high"] or value["worth"]
    for value in values:
        value["name"] = f"{value['selector']} · {value['target']}"
    names = [v["name"] for v in sorted(values, key=lambda v: (v["target"], -v["worth"]))]
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(labelLimit=330))
    x = alt.X("worth:Q", title="times its own tokens, drawn at random", scale=alt.Scale(zero=False))
    base = alt.Chart(alt.Data(values=values))
    bars = base.mark_rule(strokeWidth=2, color=light("s0")).encode(x=alt.X("low:Q"), x2="high:Q", y=y)
    dots = base.mark_circle(size=70, opacity=1, color=light("s0")).encode(x=x, y=y)
    with unchecked():
        spec = build_spec(alt.layer(bars, dots), 24 * len(values) + 40)
    rows = [[v["target"], v["selector"], times(v["worth"]), f"{times(v['low'])} to {times(v['high'])}"] for v in values]
    best = max(values, key=lambda v: v["worth"])
    return Chart(
        "worth", "Worth in random's tokens",
        f"The largest: {best['selector']} for {best['target']}, {best['worth']:.1f} times its own tokens.", spec,
        ChartTable(["target", "selector", "worth", "95% interval"], rows),
    )  # fmt: skip


def two_measures_chart(numbers: Mapping[str, Any]) -> Chart | None:
    """Return loss against well-formed answers, both as differences to random, with intervals."""
    values = []
    front = numbers["frontier"]
    for e in numbers["in_distribution"]:
        pair = numbers["well_formed"].get(e["selector"], {}).get("to_random")
        if pair is not None and pair["low"] is not None and e["low"] is not None:
            values.append(
                {
                    "selector": e["selector"], "loss": e["percent"], "loss_low": e["low"], "loss_high": e["high"],
                    "named": e["selector"] in front,
                    "form": 100 * pair["effect"], "form_low": 100 * pair["low"], "form_high": 100 * pair["high"],
                }
            )  # fmt: skip
    if not values:
        return None
    base = alt.Chart(alt.Data(values=values))
    x = alt.X("loss:Q", title="loss to random, % (left is better)", scale=alt.Scale(zero=False))
    y = alt.Y("form:Q", title="well-formed answers to random, points", scale=alt.Scale(zero=False))
    across = base.mark_rule(color=light("muted"), strokeWidth=1.5).encode(x=alt.X("loss_low:Q"), x2="loss_high:Q", y=y)
    up = base.mark_rule(color=light("muted"), strokeWidth=1.5).encode(x=x, y=alt.Y("form_low:Q"), y2="form_high:Q")
    dots = base.mark_circle(size=80, opacity=1, color=light("s0")).encode(x=x, y=y)
    named = base.transform_filter("datum.named")  # the others stand in the table
    names = named.mark_text(align="left", dx=7, dy=-7, color=light("ink")).encode(x=x, y=y, text="selector:N")
    with unchecked():
        spec = build_spec(alt.layer(across, up, dots, names), 380)
    rows = [
        [
            v["selector"], f"{v['loss']:+.2f}% ({v['loss_low']:+.2f} to {v['loss_high']:+.2f})",
            f"{v['form']:+.1f} ({v['form_low']:+.1f} to {v['form_high']:+.1f})",
        ]
        for v in values
    ]  # fmt: skip
    best = max(values, key=lambda v: v["form"])
    return Chart(
        "loss-and-form", "Loss against well-formed answers",
        f"Most well-formed answers: {best['selector']}, {best['form']:+.0f} points at {best['loss']:+.2f}% loss.", spec,
        ChartTable(["selector", "loss to random", "well-formed answers to random, points"], rows),
    )  # fmt: skip
