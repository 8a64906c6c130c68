"""The page of `finetune padding-study`: what padding costs in time, and whether it changes what is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.page import Chart
    from finetune.padding_study import Arm

PAGES = Path(__file__).parent / "pages"


def headline(arms: Sequence[Arm]) -> tuple[str, str]:
    """What padding did to time, and what it did to the eval loss, in two computed sentences."""
    seconds = {name: mean(a.train_seconds for a in arms if a.name == name) for name in _names(arms)}
    first, slowest = arms[0].name, max(seconds, key=lambda name: (seconds[name], name))
    padding = max(arm.padding_share for arm in arms if arm.name == slowest)
    if slowest == first:
        told = f"No way of padding was slower than {first}, which took {seconds[first]:.1f} s."
    else:
        told = (
            f"{first.capitalize()} batches took {seconds[first]:.1f} s, {slowest} {seconds[slowest]:.1f} s: "
            f"{seconds[slowest] / seconds[first]:.2f} times as long, with {100 * padding:.0f}% padding."
        )
    differ = [arm for arm in arms if arm.interval is not None and (arm.interval[0] > 0 or arm.interval[1] < 0)]
    if not differ:
        widest = max((max(map(abs, arm.interval)) for arm in arms if arm.interval), default=0.0)
        return told, (
            "No difference in eval loss was shown between ways of batching or pad tokens; every 95% interval lies "
            f"within {widest:.4f} nats a token of 0."
        )
    most = max(differ, key=lambda arm: abs(arm.loss_difference or 0.0))
    low, high = most.interval or (0.0, 0.0)
    return told, (
        f"The eval loss differs from {arms[0].name}'s in {len(differ)} of {len(arms) - 1} arms, most with {most.name}, "
        f"pad token {most.pad_token}: {most.loss_difference:+.4f} nats a token (95% interval {low:+.4f} to "
        f"{high:+.4f})."
    )


def _names(arms: Sequence[Arm]) -> list[str]:
    return list(dict.fromkeys(arm.name for arm in arms))


def arm_charts(arms: Sequence[Arm]) -> list[Chart]:
    """Seconds of training, and difference in eval loss with its interval, one line an arm."""
    import altair as alt

    from curate.page import Chart, ChartTable, format_number
    from curate.page.chart import build_spec, unchecked
    from curate.page.palette import light

    labels = [f"{arm.name}, pad {arm.pad_token}" for arm in arms]
    y = alt.Y("arm:N", sort=None, title=None, axis=alt.Axis(labelLimit=260, domain=False, ticks=False, grid=True))
    times: list[dict[str, Any]] = [
        {"arm": label, "seconds": arm.train_seconds} for label, arm in zip(labels, arms, strict=True)
    ]
    compared: list[dict[str, Any]] = [
        {"arm": label, "difference": arm.loss_difference, "low": arm.interval[0], "high": arm.interval[1]}
        for label, arm in zip(labels, arms, strict=True)
        if arm.interval is not None
    ]
    with unchecked():
        bars = alt.Chart(alt.InlineData(values=times)).mark_bar(color=light("s0"), height=14)
        seconds = build_spec(bars.encode(y=y, x=alt.X("seconds:Q", title="seconds of training")), 40 + 26 * len(arms))
        base = alt.Chart(alt.InlineData(values=compared)).encode(y=y)
        zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=light("muted"), strokeDash=[4, 3])
        layers = alt.layer(
            zero.encode(x="zero:Q"),
            base.mark_rule(strokeWidth=2.5, color=light("s0")).encode(x="low:Q", x2="high:Q"),
            base.mark_circle(size=90, color=light("s0"), opacity=1).encode(
                x=alt.X("difference:Q", title=f"eval loss minus {arms[0].name}'s (nats per token)")
            ),
        )
        losses = build_spec(layers, 40 + 26 * len(compared))
    slowest = max(arms, key=lambda arm: arm.train_seconds)
    return [
        Chart(
            "seconds",
            "Time for the same rows",
            f"The longest took {slowest.train_seconds:.1f} s ({slowest.name}).",
            seconds,
            ChartTable(["Arm", "Seconds"], [[t["arm"], format_number(t["seconds"], 1)] for t in times]),
        ),
        Chart(
            "differences",
            "What it does to the eval loss",
            f"{sum(c['low'] <= 0 <= c['high'] for c in compared)} of {len(compared)} intervals include no difference.",
            losses,
            ChartTable(
                ["Arm", "Difference", "Low", "High"],
                [[c["arm"], *(format_number(c[n], 4) for n in ("difference", "low", "high"))] for c in compared],
            ),
            caption="Each line is a 95% interval; the dashed line is no difference.",
        ),
    ]


def render_padding_page(
    name: str,
    arms: Sequence[Arm],
    facts: Sequence[tuple[str, str]],
    config: Mapping[str, Any],
    command: str,
) -> str:
    """The page as one HTML document that needs no network. Same data, same bytes."""
    from curate.page import render_document

    told, second = headline(arms)
    charts = arm_charts(arms)
    return render_document(
        "padding.html",
        {
            "name": name,
            "headline": told,
            "second": second,
            "arms": arms,
            "facts": facts,
            "charts": charts,
            "config": [(key, "–" if value is None else str(value)) for key, value in sorted(config.items())],
            "command": command,
        },
        folders=[PAGES],
        charts=charts,
    )
