"""Text metrics over anybody's generations: `evalsuite score GENERATIONS.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.artifact import write_jsonl
from curate.errors import UsageError, UserError, did_you_mean
from curate.page import format_number
from evaluate_suite.answers.answer_files import AnswerRow, read_answers, several_models
from evaluate_suite.generation.record import STOP_REASONS, Generation
from evaluate_suite.metrics import (
    METRICS,
    OLD_NAMES,
    MetricContext,
    MetricSummary,
    Score,
    apply,
    metrics_that_need,
    summarise,
)

TEXT_NEEDS = ("generation", "reference")  # what a file of generations holds


@dataclass(frozen=True)
class ScoredFile:
    """What scoring gave: generations, each metric's scores in the same order, and the summaries.

    A file with the answers of several models has these by model in `models`, and no summaries over all: answers of
    two models are no samples of one prompt.
    """

    generations: list[Generation]
    scores: dict[str, list[Score]]
    summaries: dict[str, MetricSummary]
    models: dict[str, ScoredFile] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return counts and summaries, as `--json` prints them."""
        count = {"generations": len(self.generations)}
        if self.models:
            return {**count, "models": {name: file.as_dict() for name, file in self.models.items()}}
        return {**count, "metrics": {name: summary.as_dict() for name, summary in self.summaries.items()}}


def summary_text(summary: MetricSummary) -> str:
    """Return a summary in one line for a terminal."""
    mean = summary.estimate
    counts = f"{mean.n} scored, {mean.unscored} not"
    if mean.value is None:
        return counts
    between = "" if mean.low is None else f" ({format_number(mean.low)} to {format_number(mean.high)})"
    return f"{format_number(mean.value)}{between}, {counts}"


def score_generations(
    generations: Sequence[Generation], metrics: Sequence[str] | None = None, context: MetricContext | None = None
) -> ScoredFile:
    """Return all `metrics` (default: those that need nothing else) of all `generations`, which one model wrote."""
    asked = metrics_that_need(*TEXT_NEEDS) if metrics is None else metrics
    metrics = [OLD_NAMES.get(name, name) for name in asked]
    for name in metrics:
        if name not in METRICS:
            raise UsageError(f'Unknown metric "{name}".', did_you_mean(name, METRICS))
    # Generation by generation, because taking one apart is cached for the metrics that follow.
    scored = [{name: apply(METRICS[name], generation, context) for name in metrics} for generation in generations]
    scores = {name: [row[name] for row in scored] for name in metrics}
    prompts = [generation.prompt_id for generation in generations]
    summaries = {name: summarise(METRICS[name], scores[name], prompts) for name in metrics}
    return ScoredFile(list(generations), scores, summaries)


def score(path: str | Path, out: str | Path | None = None, metrics: Sequence[str] | None = None) -> ScoredFile:
    """Score a file of generations and, with `out`, write one line of scores per generation to `out`.

    Formats are those of `read_answers`; a line of ours has `completion` and `prompt` or `task_id` (both may stand
    there); optional are `prompt_id`, `sample`, `reference`, `language`, `stop_reason`, `new_tokens` and `model`. Where
    several models wrote the file, each is scored by itself.
    """
    if out is not None and Path(out).resolve() == Path(path).resolve():
        raise UsageError(f"--out {out} is the file of the generations.", "Name another file for the scores.")
    if out is not None and Path(out).is_dir():
        raise UsageError(f"--out {out} is a folder.", "Name a file.")
    rows = read_answers(path)
    generations = _generations(rows)
    models = several_models(rows)
    if models:
        by_model: dict[str, list[Generation]] = {}
        for row, generation in zip(rows, generations, strict=True):
            by_model.setdefault(row.model or "model not named", []).append(generation)
        files = {name: score_generations(group, metrics) for name, group in by_model.items()}
        result = ScoredFile(generations, {}, {}, files)
    else:
        result = score_generations(generations, metrics)
    if out is not None:
        write_jsonl(out, list(_lines(result)))
    return result


def _lines(result: ScoredFile, model: str | None = None) -> Iterator[dict[str, Any]]:
    """One line a generation, model by model where there are several."""
    for name, file in result.models.items():
        yield from _lines(file, name)
    if result.models:
        return
    for place, generation in enumerate(result.generations):
        scores = {name: column[place] for name, column in result.scores.items()}
        yield {
            **({} if model is None else {"model": model}),
            "prompt_id": generation.prompt_id,
            "sample": generation.sample,
            "scores": {name: score.value for name, score in scores.items()},
            "reasons": {name: score.reason for name, score in scores.items() if score.value is None},
            "details": {name: dict(score.detail) for name, score in scores.items() if score.detail},
        }


def read_generations(path: str | Path) -> list[Generation]:
    """Return the generations of a file, ours or somebody else's; what is wrong is a `UserError` with file and line."""
    return _generations(read_answers(path))


def _generations(rows: Sequence[AnswerRow]) -> list[Generation]:
    seen: dict[tuple[str | None, str], int] = {}
    generations = []
    for row in rows:
        fields = row.fields
        _check_fields(row)
        named = (fields.get(key) for key in ("prompt_id", "task_id", "prompt"))
        name = str(next((value for value in named if value is not None), row.place))
        sample = seen.get((row.model, name), 0) if fields.get("sample") is None else fields["sample"]
        seen[row.model, name] = seen.get((row.model, name), 0) + 1
        generations.append(
            Generation(
                name,
                fields.get("prompt") or "",
                row.text,
                fields.get("new_tokens"),
                fields.get("stop_reason"),
                sample,
                fields.get("seed"),
                fields.get("language"),
                fields.get("reference"),
            )
        )
    return generations


def _check_fields(row: AnswerRow) -> None:
    fields, where = row.fields, row.where
    if row.place is None and not any(fields.get(name) is not None for name in ("prompt", "task_id", "prompt_id")):
        raise UserError(f"{where}: neither prompt nor task_id.", "Add one of them, so that the line can be told apart.")
    for name in ("prompt", "reference", "language"):
        if fields.get(name) is not None and not isinstance(fields[name], str):
            raise UserError(
                f"{where}: the field {name} is a {type(fields[name]).__name__}, not text.", "Write it as text."
            )
    for name in ("sample", "new_tokens"):
        if fields.get(name) is not None and type(fields[name]) is not int:
            raise UserError(f"{where}: the field {name} is not a whole number.", "Correct it, or leave it out.")
    stop = fields.get("stop_reason")
    if stop is not None and stop not in STOP_REASONS:
        raise UserError(f'{where}: unknown stop_reason "{stop}".', did_you_mean(str(stop), STOP_REASONS))
