"""From a report's record to one HTML document: what stands in the page and what is packed for the script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from curate.page import (
    Chart,
    Segment,
    format_count,
    format_duration,
    format_number,
    format_share,
    pack_text,
    render_document,
    segments,
    visible_text,
)
from curate.page.curation_charts import curation_charts
from evaluate_suite.metrics.well_formed_answer import CANNOT_SEE
from evaluate_suite.reporting.charts import gain_chart, loss_chart
from evaluate_suite.reporting.measures import EVAL_LOSS
from evaluate_suite.reporting.record import (
    MetricInfo,
    Output,
    PromptOutputs,
    ReportRecord,
    RunResult,
)
from evaluate_suite.statistics.levels import DRAWS, SCOPES
from evaluate_suite.statistics.types import MODELS, Estimate, PairedDifference
from finetune.check.row_marks import legend, row_marks

HERE = Path(__file__).parent
HEADLINE_METRIC = "well_formed_answer"  # the text metric that stands in the run table
STANDING = 20  # prompts whose generations stand in the HTML itself
GOOD_VERDICTS = {"good"}
BAD_VERDICTS = {"overfit", "diverged"}
STOPS = {"end_token": "stopped by itself", "max_new_tokens": "cut at the limit"}


def verdict_class(verdict: str) -> str:
    """The style class of a verdict's badge. The word itself is always printed: colour says nothing alone."""
    return "good" if verdict in GOOD_VERDICTS else "bad" if verdict in BAD_VERDICTS else "warn"


def output_note(output: Output) -> str:
    """How a generation ended, in a few words."""
    parts = [STOPS.get(output.stop_reason or "", "")]
    parts += [f"{output.new_tokens} tokens"] if output.new_tokens is not None else []
    if not (output.text or "").strip():
        parts.append("nothing but white space" if output.text else "nothing written")
    return ", ".join(part for part in parts if part)


def output_marks(output: Output, metrics: Sequence[MetricInfo]) -> list[str]:
    """One short text per scored metric of a generation: "code parses: yes", "trailing text: 31%"."""
    marks = []
    for metric in metrics:
        score = output.scores.get(metric.name)
        if score is not None:
            said = {0.0: "no", 1.0: "yes"}.get(score) if metric.share and metric.better == "higher" else None
            said = said or (f"{100 * score:.0f}%" if metric.share else f"{score:.2f}")
            marks.append(f"{metric.title.lower()}: {said}")
    return marks


def _segments(output: Output, prompt: PromptOutputs) -> list[Segment]:
    return segments(output.text or "", output.answer_end, prompt.language)


def packed_generations(data: ReportRecord) -> str:
    """What the script needs: the scores of every prompt, and the texts of those that do not stand in the page.

    A text is a list of [kind, text]; bit 0 of the kind is code, bit 1 is trailing.
    """
    prompts = []
    for index, prompt in enumerate(data.prompts):
        entry: dict[str, Any] = {"id": prompt.prompt_id, "outputs": [{"scores": o.scores} for o in prompt.outputs]}
        if index >= STANDING:
            entry |= {"prompt": visible_text(prompt.prompt or ""), "language": prompt.language}
            for packed, output in zip(entry["outputs"], prompt.outputs, strict=True):
                packed["text"] = [[s.code + 2 * s.trailing, s.text] for s in _segments(output, prompt)]
                packed["note"] = output_note(output)
                packed["marks"] = output_marks(output, data.metrics)
        prompts.append(entry)
    record = {"models": data.models, "prompts": prompts}
    return pack_text(json.dumps(record, ensure_ascii=False, separators=(",", ":")))


def standing_prompts(data: ReportRecord) -> list[dict[str, Any]]:
    """The first prompts as the template wants them; base model and shown run highlighted, the others plain."""
    shown = {0, shown_run(data)}

    def output_view(prompt: PromptOutputs, index: int, output: Output) -> dict[str, Any]:
        return {
            "index": index,
            "model": output.model,
            "note": output_note(output),
            "marks": output_marks(output, data.metrics),
            "coloured": index in shown,
            "segments": _segments(output, prompt),
        }

    return [
        {"prompt": prompt, "outputs": [output_view(prompt, i, o) for i, o in enumerate(prompt.outputs)]}
        for prompt in data.prompts[:STANDING]
    ]


def shown_run(data: ReportRecord) -> int:
    """The place among the models of the run first shown beside the base model: the winner's, else the first run's."""
    if data.winner in data.models[1:]:
        return data.models.index(data.winner)
    return min(1, len(data.models) - 1)


def pairs_by_measure(pairs: Sequence[PairedDifference]) -> dict[tuple[str, str], list[PairedDifference]]:
    """The compared pairs by (measure, scope), in the order of their first pair."""
    groups: dict[tuple[str, str], list[PairedDifference]] = {}
    for pair in pairs:
        groups.setdefault((pair.measure, pair.scope), []).append(pair)
    return groups


def measure_title(measure: str, scope: str) -> str:
    """What a table of pairs is headed: the measure, and what its pairs are about unless that is single models."""
    return measure.replace("_", " ") + ("" if scope == MODELS else f", {scope}")


def strategy_claim(pairs: Sequence[PairedDifference], share: bool) -> tuple[str, str]:
    """(what one measure shows between strategies, what it would have shown where it shows nothing), in words."""
    shown = []
    for pair in (pair for pair in pairs if pair.winner is not None):
        about = "" if pair.unit == DRAWS else f" (about these {SCOPES[pair.unit]})"
        shown.append(f"{pair.winner} beats {pair.second if pair.winner == pair.first else pair.first}{about}")
    if shown:
        return "; ".join(shown), ""
    sizes = [pair.smallest_detectable for pair in pairs if pair.smallest_detectable is not None]
    if not sizes:
        return "no difference shown", "; ".join(dict.fromkeys(pair.reason for pair in pairs if pair.reason))
    size = f"{100 * max(sizes):.1f} points" if share else format_number(max(sizes), 4)
    return "no difference shown", f"{size} would show 4 times in 5"


def strategy_claims(data: ReportRecord) -> dict[str, tuple[str, str]]:
    """Every measure's claim about the strategies, by its name."""
    if not data.strategies:
        return {}
    by_measure = pairs_by_measure(data.pairs)
    scope, share = data.strategies[0].scope, {metric.name: metric.share for metric in data.metrics}
    return {
        name: strategy_claim(by_measure.get((name, scope), []), share.get(name, False))
        for name in (EVAL_LOSS, *data.strategies[0].metrics)
    }


def told_pairs(pairs: Sequence[PairedDifference]) -> str:
    """How many pairs of a measure were shown to differ, in words."""
    shown = sum(pair.winner is not None for pair in pairs)
    return f"{shown} of {len(pairs)} pairs differ" if shown else f"no difference shown in {len(pairs)} pairs"


def coverage_names(data: ReportRecord) -> list[str]:
    """What was measured about the coverage of any selection, but for what the table of selections shows anyway."""
    names = dict.fromkeys(name for view in data.curations for name in view.coverage)
    return [name for name in names if name != "clusters_with_a_pick"]


def report_charts(data: ReportRecord) -> tuple[list[Chart], list[tuple[Any, list[Chart]]]]:
    """The charts of the losses, and for every selection its view with its charts."""
    losses = [chart for chart in (loss_chart(data.runs), gain_chart(data.runs)) if chart is not None]
    curations = [(view, curation_charts(view, f"curation-{i}")) for i, view in enumerate(data.curations)]
    return losses, curations


def reproduce_block(data: ReportRecord) -> str:
    """The commands that made every run and this report, each once, in order."""
    lines = dict.fromkeys(line for run in data.runs for line in run.commands)
    return "\n".join([*lines, data.command])


def render_report_page(data: ReportRecord) -> str:
    """The report as one HTML document that needs no network. Same data, same bytes."""
    losses, curations = report_charts(data)
    charts = [*losses, *(chart for _, some in curations for chart in some)]
    return render_document(
        "report.html",
        {
            "data": data,
            "loss_charts": losses,
            "curations": curations,
            "coverage_names": coverage_names(data),
            "clean": next((metric for metric in data.metrics if metric.name == HEADLINE_METRIC), None),
            "form_alone": CANNOT_SEE,
            "measures": [(measure_title(*key), pairs) for key, pairs in pairs_by_measure(data.pairs).items()],
            "told_pairs": told_pairs,
            "strategy_claims": strategy_claims(data),
            "eval_loss": EVAL_LOSS,
            "has_parts": any(metric.name.startswith(EVAL_LOSS) for metric in data.metrics),
            "verdict_class": verdict_class,
            "marked": data.winner,
            "standing": standing_prompts(data),
            "shown_run": shown_run(data),
            "models": data.models,
            "reproduce": reproduce_block(data),
            "config_rows": config_rows(data.runs),
            "metric_cells": lambda m: [data.base_metrics.get(m.name), *(run.metrics.get(m.name) for run in data.runs)],
            "setting_rows": lambda settings: [(name, _text(value)) for name, value in sorted(settings.items())],
            "rows": [(row, row_marks(row.view)) for row in data.rows],
            "legend": legend(),
            "packed": Markup(packed_generations(data)) if data.prompts else None,
        },
        folders=[HERE],
        charts=charts,
    )


def config_rows(runs: Sequence[RunResult]) -> list[tuple[str, list[str]]]:
    """Every setting that some run has, with each run's value as text; settings in alphabetical order."""
    names = sorted({name for run in runs for name in run.config})
    return [(name, [_text(run.config.get(name)) for run in runs]) for name in names]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "–" if value is None else json.dumps(value, sort_keys=True)


def run_columns(record: ReportRecord) -> tuple[list[str], list[list[str]]]:
    """Return the runs of a report as the heads and rows of a table for the terminal."""
    heads = [
        "run", "strategy", "rows", "trained\ntokens", "of\nselected", "base\nloss", "tuned\nloss", "gain",
        "95% interval", "well-formed\n(form alone)", "pass@1", "verdict", "time", "peak\nGiB",
    ]  # fmt: skip
    rows = []
    for run in record.runs:
        gain, clean, passed = run.gain, run.metrics.get(HEADLINE_METRIC), run.metrics.get("passes_tests")
        between = "–" if gain.low is None else f"{format_number(gain.low)} to {format_number(gain.high)}"
        rows.append(
            [
                run.name,
                run.strategy,
                format_count(run.rows),
                format_count(run.trained_tokens),
                format_count(run.tokens),
                format_number(run.base_loss.value),
                format_number(run.tuned_loss.value),
                format_number(gain.value),
                between,
                format_share(clean.value if clean else None),
                format_share(passed.value if passed else None),
                run.verdict.verdict.replace("_", " "),
                format_duration(run.elapsed_seconds),
                format_number(run.peak_memory_gib, 1),
            ]
        )
    return heads, rows


def strategy_columns(record: ReportRecord) -> tuple[list[str], list[list[str]]]:
    """Return the strategies of a report on every measure, and what is shown, as a table for the terminal."""
    claims = strategy_claims(record)
    measures = [(EVAL_LOSS, False, [s.loss for s in record.strategies])]
    measures += [
        (m.name, m.share, [s.metrics[m.name].estimate for s in record.strategies])
        for m in record.metrics
        if all(m.name in s.metrics for s in record.strategies)
    ]

    def cell(e: Estimate, share: bool) -> str:
        value, low, high = (format_share(v) if share else format_number(v) for v in (e.value, e.low, e.high))
        return value if e.low is None else f"{value} ({low} to {high})"

    rows = [
        [name.replace("_", " "), *(cell(e, share) for e in estimates), claims[name][0]]
        for name, share, estimates in measures
    ]
    return ["measure", *(f"{s.name}\n{s.n_draws} x {s.n_seeds}" for s in record.strategies), "shown"], rows
