"""The charts of a report: loss curves of all runs on one axis, and gains with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from curate.page import Chart, ChartTable, format_number, series_colour
from curate.page.chart import build_spec, unchecked
from curate.page.palette import light
from evaluate_suite.reporting.record import RunResult

TRAIN, EVAL = "train", "eval"


def loss_values(runs: Sequence[RunResult]) -> list[dict[str, Any]]:
    """One mapping per measured loss: run, loss (train or eval), step, value; nothing where nothing was measured."""
    return [
        {"run": run.name, "loss": kind, "step": point.step, "value": value}
        for run in runs
        for point in run.history
        for kind, value in ((TRAIN, point.train_loss), (EVAL, point.eval_loss))
        if value is not None
    ]


def loss_chart(runs: Sequence[RunResult]) -> Chart | None:
    """Train loss dashed, eval loss solid with points; best step ringed, steps after an overfit onset shaded."""
    values = loss_values(runs)
    if not values:
        return None
    overfit = [run for run in runs if _is_overfit(run)]
    with unchecked():
        spec = build_spec(_loss_layers(runs, values, overfit), 340)
    names = [run.name for run in runs]
    steps = sorted({(v["run"], v["step"]) for v in values}, key=lambda key: (names.index(key[0]), key[1]))
    by_key = {(v["run"], v["step"], v["loss"]): v["value"] for v in values}
    rows = [
        [run, str(step), *(format_number(by_key.get((run, step, loss)), 4) for loss in (TRAIN, EVAL))]
        for run, step in steps
    ]
    onsets = [f"{run.name} from step {run.verdict.onset_step}" for run in overfit]
    return Chart(
        "losses",
        "Loss while training",
        " ".join(_sentence(run) for run in runs),
        spec,
        ChartTable(["Run", "Step", "Train loss", "Eval loss"], rows),
        caption="Eval loss: solid, with points. Train loss: dashed. A ring marks the best step"
        + (f"; the shaded steps are those where a run overfits ({', '.join(onsets)})." if onsets else ".")
        + (" Click a name to see its curves alone; a double click shows all again." if len(runs) > 1 else ""),
    )


def _is_overfit(run: RunResult) -> bool:
    """Whether its eval loss was found to rise, at a step that its history goes beyond."""
    return run.verdict.onset_step is not None and any(point.step > run.verdict.onset_step for point in run.history)


def _loss_layers(runs: Sequence[RunResult], values: list[dict[str, Any]], overfit: Sequence[RunResult]) -> Any:
    names = [run.name for run in runs]
    colour = alt.Color(
        "run:N",
        title=None,
        scale=alt.Scale(domain=names, range=[series_colour(i) for i in range(len(names))]),
        legend=alt.Legend(columns=2, labelLimit=260, symbolType="circle", symbolOpacity=1) if len(names) > 1 else None,
    )
    pointed = alt.selection_point(name="pointed", fields=["run"], bind="legend")
    several = len(names) > 1  # a legend to click, and something to fade
    faded = alt.condition(pointed, alt.value(1), alt.value(0.12)) if several else alt.value(1)
    kind = alt.StrokeDash(
        "loss:N",
        title=None,
        scale=alt.Scale(domain=[EVAL, TRAIN], range=[[1, 0], [4, 3]]),
        legend=alt.Legend(symbolType="stroke", symbolStrokeColor=light("muted"), symbolSize=300),
    )
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("step:Q", title="training step", axis=alt.Axis(grid=False, tickCount=8)),
        y=alt.Y("value:Q", title="loss (nats per token)", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6)),
        color=colour,
    )
    tooltip = ["run:N", "loss:N", "step:Q", alt.Tooltip("value:Q", format=".4f")]
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=kind, opacity=faded)
    layers = [
        lines.add_params(pointed) if several else lines,
        base.transform_filter(f"datum.loss == '{EVAL}'").mark_circle(size=34).encode(tooltip=tooltip, opacity=faded),
        base.transform_filter(f"datum.loss == '{TRAIN}'").mark_circle(size=30, opacity=0).encode(tooltip=tooltip),
        *_marks(runs, colour),
    ]
    return alt.layer(*_overfit_layers(overfit, colour), *layers)


def _sentence(run: RunResult) -> str:
    measured = [(p.step, p.eval_loss) for p in run.history if p.eval_loss is not None]
    if not measured:
        return f"{run.name}: no eval loss was measured while training."
    best = min(measured, key=lambda item: (item[1], item[0]))
    return (
        f"{run.name}: eval loss {measured[0][1]:.3f} at step {measured[0][0]}, lowest {best[1]:.3f} at step {best[0]}, "
        f"last {measured[-1][1]:.3f}; verdict {run.verdict.verdict}."
    )


def _marks(runs: Sequence[RunResult], colour: Any) -> list[Any]:
    best = []
    for run in runs:
        at: dict[float, float | None] = {point.step: point.eval_loss for point in run.history}
        step = run.verdict.best_step
        if step is not None and at.get(step) is not None:
            best.append({"run": run.name, "step": step, "value": at[step], "mark": "best step"})
    if not best:
        return []
    ring = alt.Chart(alt.InlineData(values=best)).mark_point(size=190, strokeWidth=2, filled=False, opacity=1)
    return [ring.encode(x="step:Q", y="value:Q", color=colour, tooltip=["run:N", "mark:N", "step:Q", "value:Q"])]


def _overfit_layers(overfit: Sequence[RunResult], colour: Any) -> list[Any]:
    """From the earliest onset to the last step a band; along each overfit run's eval loss, from its onset, a halo."""
    if not overfit:
        return []
    onsets = [run.verdict.onset_step or 0 for run in overfit]
    last = max(point.step for run in overfit for point in run.history)
    band = alt.Chart(alt.InlineData(values=[{"from": min(onsets), "to": last}])).mark_rect(
        color=light("s4"), opacity=0.09
    )
    rising = [
        {"run": run.name, "step": point.step, "value": point.eval_loss}
        for run in overfit
        for point in run.history
        if point.eval_loss is not None and point.step >= (run.verdict.onset_step or 0)
    ]
    halo = alt.Chart(alt.InlineData(values=rising)).mark_line(strokeWidth=12, opacity=0.28, strokeCap="round")
    return [band.encode(x="from:Q", x2="to:Q"), halo.encode(x="step:Q", y="value:Q", color=colour)]


def gain_chart(runs: Sequence[RunResult]) -> Chart | None:
    """How far each run's eval loss lies below the base model's, with 95% intervals; the dashed line is no gain."""
    scored = [run for run in runs if run.gain.value is not None]
    if not scored:
        return None
    with unchecked():
        spec = build_spec(_gain_layers(scored), 50 + 30 * len(scored))
    best = max(scored, key=lambda run: (run.gain.value or 0.0, run.name))
    rows = [
        [
            run.name,
            *(format_number(v, 4) for v in (run.gain.value, run.gain.low, run.gain.high)),
            str(run.gain.n),
            *(format_number(v, 2) for v in (run.base_perplexity, run.tuned_perplexity)),
        ]
        for run in scored
    ]
    return Chart(
        "gains",
        "What training gained on the holdout",
        f"The largest gain is {format_number(best.gain.value, 3)} nats per token ({best.name}), 95% interval "
        f"{format_number(best.gain.low, 3)} to {format_number(best.gain.high, 3)}.",
        spec,
        ChartTable(["Run", "Gain", "Low", "High", "Rows", "Perplexity before", "Perplexity after"], rows),
        caption="Each line is a 95% interval, paired by held-out row. "
        "Right of the dashed line is better than the base model.",
    )


def _gain_layers(scored: Sequence[RunResult]) -> Any:
    values = [{"run": run.name, "gain": run.gain.value, "low": run.gain.low, "high": run.gain.high} for run in scored]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("run:N", sort=None, title=None, axis=alt.Axis(labelLimit=240, domain=False, ticks=False, grid=True))
    )
    tooltip = ["run:N", *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("gain", "low", "high"))]
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=light("muted"), strokeDash=[4, 3])
    return alt.layer(
        zero.encode(x=alt.X("zero:Q")),
        base.mark_rule(strokeWidth=2.5, color=light("s0")).encode(x="low:Q", x2="high:Q"),
        base.mark_circle(size=90, color=light("s0"), opacity=1).encode(
            x=alt.X("gain:Q", title="gain (nats per token)", axis=alt.Axis(tickCount=6)),
            tooltip=tooltip,
        ),
    )
