"""The charts of a report: loss curves of all runs on one axis, and gains with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.page import Chart, ChartTable, format_number, series_colour
from curate.page.chart import build_spec
from curate.page.palette import light
from evaluate_suite.report_record import RunResult

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
    import altair as alt

    values = loss_values(runs)
    if not values:
        return None
    names = [run.name for run in runs]
    colour = alt.Color(
        "run:N",
        title=None,
        scale=alt.Scale(domain=names, range=[series_colour(i) for i in range(len(names))]),
        legend=alt.Legend(columns=2, labelLimit=260, symbolType="circle") if len(names) > 1 else None,
    )
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
    layers = [
        base.mark_line(strokeWidth=2).encode(strokeDash=kind),
        base.transform_filter(f"datum.loss == '{EVAL}'").mark_circle(size=34, opacity=1).encode(tooltip=tooltip),
        base.transform_filter(f"datum.loss == '{TRAIN}'").mark_circle(size=30, opacity=0).encode(tooltip=tooltip),
        *_marks(runs, colour),
    ]
    shaded = _overfit_layer(runs)
    chart = alt.layer(*([shaded] if shaded is not None else []), *layers)
    steps = sorted({(v["run"], v["step"]) for v in values}, key=lambda key: (names.index(key[0]), key[1]))
    by_key = {(v["run"], v["step"], v["loss"]): v["value"] for v in values}
    rows = [
        [run, str(step), *(format_number(by_key.get((run, step, loss)), 4) for loss in (TRAIN, EVAL))]
        for run, step in steps
    ]
    return Chart(
        "losses",
        "Loss while training",
        " ".join(_sentence(run) for run in runs),
        build_spec(chart, 340),
        ChartTable(["Run", "Step", "Train loss", "Eval loss"], rows),
        caption="Eval loss: solid, with points. Train loss: dashed. A ring marks the best step"
        + ("; the shaded steps are those after the first sign of overfitting." if shaded is not None else "."),
    )


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
    import altair as alt

    best = []
    for run in runs:
        at = {point.step: point.eval_loss for point in run.history}
        step = run.verdict.best_step
        if step is not None and at.get(step) is not None:
            best.append({"run": run.name, "step": step, "value": at[step], "mark": "best step"})
    if not best:
        return []
    ring = alt.Chart(alt.InlineData(values=best)).mark_point(size=190, strokeWidth=2, filled=False, opacity=1)
    return [ring.encode(x="step:Q", y="value:Q", color=colour, tooltip=["run:N", "mark:N", "step:Q", "value:Q"])]


def _overfit_layer(runs: Sequence[RunResult]) -> Any:
    """One band from the earliest onset among overfit runs to the last step, or None."""
    import altair as alt

    onsets = [run.verdict.onset_step for run in runs if run.verdict.onset_step is not None]
    last = max((point.step for run in runs for point in run.history), default=0)
    if not onsets or min(onsets) >= last:
        return None
    data = alt.InlineData(values=[{"from": min(onsets), "to": last}])
    return alt.Chart(data).mark_rect(color=light("s4"), opacity=0.09).encode(x="from:Q", x2="to:Q")


def gain_chart(runs: Sequence[RunResult]) -> Chart | None:
    """How far each run's eval loss lies below the base model's, with 95% intervals; the dashed line is no gain."""
    import altair as alt

    scored = [run for run in runs if run.gain.value is not None]
    if not scored:
        return None
    values = [{"run": run.name, "gain": run.gain.value, "low": run.gain.low, "high": run.gain.high} for run in scored]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("run:N", sort=None, title=None, axis=alt.Axis(labelLimit=240, domain=False, ticks=False, grid=True))
    )
    tooltip = ["run:N", *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("gain", "low", "high"))]
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=light("muted"), strokeDash=[4, 3])
    chart = alt.layer(
        zero.encode(x=alt.X("zero:Q")),
        base.mark_rule(strokeWidth=2.5, color=light("s0")).encode(x="low:Q", x2="high:Q"),
        base.mark_circle(size=90, color=light("s0"), opacity=1).encode(
            x=alt.X("gain:Q", title="eval loss below the base model's (nats per token)", axis=alt.Axis(tickCount=6)),
            tooltip=tooltip,
        ),
    )
    best = max(scored, key=lambda run: (run.gain.value or 0.0, run.name))
    rows = [
        [run.name, *(format_number(v, 4) for v in (run.gain.value, run.gain.low, run.gain.high)), str(run.gain.n)]
        for run in scored
    ]
    return Chart(
        "gains",
        "What training gained on the holdout",
        f"The largest gain is {format_number(best.gain.value, 3)} nats per token ({best.name}), 95% interval "
        f"{format_number(best.gain.low, 3)} to {format_number(best.gain.high, 3)}.",
        build_spec(chart, 50 + 30 * len(values)),
        ChartTable(["Run", "Gain", "Low", "High", "Rows"], rows),
        caption="Each line is a 95% interval, paired by held-out row. "
        "Right of the dashed line is better than the base model.",
    )
