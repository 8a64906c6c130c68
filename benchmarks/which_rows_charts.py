"""The charts of the study "which rows?"."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
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


CORNERS = (("left", 7, -7), ("right", -7, -7), ("left", 7, 12), ("right", -7, 12))  # of a dot: where its name may stand
LETTER, LINE = 0.022, 1.3  # a letter's width in percent of loss, a line's height in points of answers


def corners(values: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return for every dot the corner at which its name covers the fewest names and dots placed before."""
    taken = [(value["loss"] - 0.01, value["loss"] + 0.01, value["form"] - 0.4, value["form"] + 0.4) for value in values]
    found = []
    for value in values:
        boxes = []
        for align, _, dy in CORNERS:
            wide, at = LETTER * len(value["selector"]), value["form"] + (0.8 if dy < 0 else -1.0)
            start = value["loss"] + 0.03 if align == "left" else value["loss"] - 0.03 - wide
            boxes.append((start, start + wide, at - LINE / 2, at + LINE / 2))
        covers = [
            sum(a < right and b > left and c < top and d > low for left, right, low, top in taken)
            for a, b, c, d in boxes
        ]
        found.append(covers.index(min(covers)))
        taken.append(boxes[found[-1]])
    return found


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
    named = [value for value in values if value["named"]]
    for value, corner in zip(named, corners(named), strict=True):
        value["corner"] = corner
    others = alt.Chart(alt.Data(values=[value for value in values if not value["named"]]))
    base = alt.Chart(alt.Data(values=named))
    x = alt.X("loss:Q", title="loss to random, % (left is better)", scale=alt.Scale(zero=False))
    y = alt.Y("form:Q", title="well-formed answers to random, points", scale=alt.Scale(zero=False))
    beaten = others.mark_circle(size=50, opacity=1, color=light("muted")).encode(x=x, y=y)  # intervals: in the table
    across = base.mark_rule(color=light("s0"), opacity=0.4).encode(x=alt.X("loss_low:Q"), x2="loss_high:Q", y=y)
    up = base.mark_rule(color=light("s0"), opacity=0.4).encode(x=x, y=alt.Y("form_low:Q"), y2="form_high:Q")
    dots = base.mark_circle(size=80, opacity=1, color=light("s0")).encode(x=x, y=y)
    names = [
        base.transform_filter(alt.datum.corner == place)
        .mark_text(align=align, dx=dx, dy=dy, color=light("ink"))
        .encode(x=x, y=y, text="selector:N")
        for place, (align, dx, dy) in enumerate(CORNERS)
    ]
    with unchecked():
        spec = build_spec(alt.layer(beaten, across, up, dots, *names), 380)
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
        f"Named are those that no other one beats on both. Most well-formed answers: {best['selector']}, "
        f"{best['form']:+.0f} points at {best['loss']:+.2f}% loss.", spec,
        ChartTable(["selector", "loss to random", "well-formed answers to random, points"], rows),
    )  # fmt: skip
