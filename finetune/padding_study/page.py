"""The padding study's page, and the folder it stands in with its record and its manifest."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from curate.artifact import is_made, one_writer, record_file, write_manifest, write_text
from curate.page import Chart, ChartTable, format_number, format_share, render_document, series_colour, write_index
from curate.page.chart import build_spec, unchecked
from curate.selection.record import Selection, selections_dir
from finetune.commands import PaddingStudyCommand
from finetune.config import RunConfig
from finetune.padding_study.recipe import answers, study_digest
from finetune.padding_study.record import KIND, NUMBERS, PAGE, Arm, PaddingStudyRecord

COLUMNS = ("Batching", "Pad token", "Steps", "Tokens", "Padding", "Seconds", "Tokens/s", "Eval loss", "Difference, 95%")


def write_report(
    arms: Sequence[Arm],
    config: RunConfig,
    selection: Selection,
    rows: int,
    out: Path | None,
    command: Sequence[str],
) -> Path:
    """Write the study's folder and the list of reports beside it, and return the folder."""
    digest = study_digest(config, selection, rows)
    folder = out or Path("reports") / f"padding-study-{digest[:8]}"
    with one_writer(folder):
        if not is_made(folder, KIND, "study_digest", digest, (PAGE, NUMBERS)):
            record = PaddingStudyRecord(arms=list(arms), answers=answers(arms))
            _write(folder, digest, record, config, selection, rows, command)
    return folder


def _write(
    folder: Path,
    digest: str,
    record: PaddingStudyRecord,
    config: RunConfig,
    selection: Selection,
    rows: int,
    command: Sequence[str],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record.write(folder)
    write_text(folder / PAGE, render_page(folder.name, record, config, selection, rows))
    write_manifest(
        folder,
        kind=KIND,
        command=command,
        config={
            **config.model_dump(), "study_digest": digest, "rows": rows, "selection": str(selection.path.resolve()),
            "selection_digest": selection.digest, "headline": record.headline, "second": record.second,
        },
        seed=config.seed,
        inputs=[record for record in selection.manifest.outputs if record.file.endswith(".jsonl")],
        outputs=[record_file(folder, name) for name in (PAGE, NUMBERS)],
        counts={"arms": len(record.arms), "rows": rows},
        seconds={f"{arm.name}, {arm.pad_token}": arm.train_seconds for arm in record.arms},
    )  # fmt: skip
    write_index(folder.parent)


def render_page(name: str, record: PaddingStudyRecord, config: RunConfig, selection: Selection, rows: int) -> str:
    """Return the page as one HTML document that needs no network. Same figures, same bytes."""
    arms = record.arms
    charts = [_time_chart(arms), _loss_chart(record)]
    return render_document(
        "padding-study.html",
        {
            "name": name, "study": record, "charts": charts,
            "facts": [
                ("Base model", config.model), ("Rows", f"{rows:,}"), ("Tokens", f"{arms[0].tokens:,}"),
                ("Held-out rows", _held_out(config, selection)), ("Selection", selection.path.name),
                ("Seed", config.seed),
            ],
            "columns": COLUMNS, "table": [_cells(arm) for arm in arms],
            "config": sorted((key, str(value)) for key, value in config.model_dump().items()),
            "command": shlex.join(_command(config, selection, rows)),
        },
        folders=[Path(__file__).parent],
        charts=charts,
    )  # fmt: skip


def _command(config: RunConfig, selection: Selection, rows: int) -> list[str]:
    """Return the command line that makes this study, every override kept."""
    at_home = selection.path.resolve() == (selections_dir() / selection.path.name).resolve()
    return PaddingStudyCommand.with_settings(
        config,
        selection.manifest.config["model"],
        selection=selection.path.name if at_home else str(selection.path),
        rows=rows,
    ).as_command()


def _held_out(config: RunConfig, selection: Selection) -> str:
    return f"{len(selection.holdout[: config.report_eval_rows]):,}"


def _cells(arm: Arm) -> list[str]:
    difference = "–"
    if arm.interval is not None:
        low, high = (format_number(value, 4) for value in arm.interval)
        difference = f"{format_number(arm.loss_difference, 4)} [{low}, {high}]"
    return [
        arm.name, arm.pad_token, str(arm.steps), f"{arm.tokens:,}", format_share(arm.padding_share),
        format_number(arm.train_seconds, 1), format_number(arm.tokens_per_second, 1), format_number(arm.eval_loss, 4),
        difference,
    ]  # fmt: skip


def _label(arm: Arm) -> str:
    return f"{arm.name}, {arm.pad_token}"


def _values(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    return [
        {"arm": _label(arm), "seconds": arm.train_seconds, "difference": arm.loss_difference,
         "low": arm.interval and arm.interval[0], "high": arm.interval and arm.interval[1]}
        for arm in arms
    ]  # fmt: skip


def _time_chart(arms: Sequence[Arm]) -> Chart:
    with unchecked():
        chart = (
            alt.Chart(alt.InlineData(values=_values(arms)))
            .mark_bar(color=series_colour(0), size=14)
            .encode(
                x=alt.X("seconds:Q", title="seconds of training steps and evaluations"),
                y=alt.Y("arm:N", title=None, sort=None, axis=alt.Axis(labelLimit=260)),
            )
        )
        spec = build_spec(chart, 30 * len(arms))
    slowest, fastest = (pick(arms, key=lambda arm: arm.train_seconds) for pick in (max, min))
    return Chart(
        "padding-time", "Seconds",
        f"Fastest is {_label(fastest)} with {fastest.train_seconds:.0f} s, slowest {_label(slowest)} with "
        f"{slowest.train_seconds:.0f} s.",
        spec,
        ChartTable(["Arm", "Seconds"], [[_label(arm), format_number(arm.train_seconds, 1)] for arm in arms]),
    )  # fmt: skip


def _loss_chart(record: PaddingStudyRecord) -> Chart:
    compared = [arm for arm in record.arms if arm.interval is not None]
    with unchecked():
        base = alt.Chart(alt.InlineData(values=_values(compared))).encode(
            y=alt.Y("arm:N", title=None, sort=None, axis=alt.Axis(labelLimit=260))
        )
        range_ = base.mark_rule(color=series_colour(0), strokeWidth=2).encode(
            x=alt.X("low:Q", title="eval loss minus that of packed rows, nats a token", axis=alt.Axis(tickCount=6)),
            x2="high:Q",
        )
        points = base.mark_circle(color=series_colour(0), size=60, opacity=1).encode(x="difference:Q")
        zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=series_colour(9)).encode(x="zero:Q")
        spec = build_spec(zero + range_ + points, 30 * len(compared))
    return Chart(
        "padding-loss", "Eval loss beside packed rows",
        " ".join(sentence for sentence in record.answers if sentence.startswith("Outcome")),
        spec,
        ChartTable(["Arm", "Difference, 95%"], [[_label(arm), _cells(arm)[-1]] for arm in compared]),
    )  # fmt: skip
