"""Text metrics over anybody's generations: `evalsuite score GENERATIONS.jsonl`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.artifact import write_jsonl
from curate.errors import UsageError, UserError, did_you_mean
from evaluate_suite.generation.record import STOP_REASONS, Generation
from evaluate_suite.metrics import METRICS, MetricContext, MetricSummary, Score, apply, summarise
from evaluate_suite.tasks.numbered_rows import read_numbered_rows

TEXT_METRICS = tuple(name for name, metric in METRICS.items() if metric.needs in ("generation", "reference"))


@dataclass(frozen=True)
class ScoredFile:
    """What scoring a file gave: its generations, each metric's scores in the same order, and the summaries."""

    generations: list[Generation]
    scores: dict[str, list[Score]]
    summaries: dict[str, MetricSummary]

    def as_record(self) -> dict[str, Any]:
        """Counts and summaries, as `--json` prints them."""
        return {
            "generations": len(self.generations),
            "metrics": {name: summary.as_record() for name, summary in self.summaries.items()},
        }


def score_generations(
    generations: Sequence[Generation],
    metrics: Sequence[str] = TEXT_METRICS,
    context: MetricContext | None = None,
    intervals: Mapping[str, Callable[..., Any]] | None = None,
) -> ScoredFile:
    """All `metrics` for all `generations`; `intervals` are handed to `summarise` by name."""
    for name in metrics:
        if name not in METRICS:
            raise UsageError(f'Unknown metric "{name}".', did_you_mean(name, METRICS))
    # Generation by generation, because taking one apart is cached for the metrics that follow.
    scored = [{name: apply(METRICS[name], generation, context) for name in metrics} for generation in generations]
    scores = {name: [row[name] for row in scored] for name in metrics}
    prompts = [generation.prompt_id for generation in generations]
    summaries = {name: summarise(METRICS[name], scores[name], prompts, **(intervals or {})) for name in metrics}
    return ScoredFile(list(generations), scores, summaries)


def score_file(
    path: str | Path,
    out: str | Path | None = None,
    metrics: Sequence[str] = TEXT_METRICS,
    intervals: Mapping[str, Callable[..., Any]] | None = None,
) -> ScoredFile:
    """Score a JSONL file of generations and, with `out`, write one line of scores per generation to `out`.

    A line has `completion` and `prompt` or `task_id` (both may stand there); optional are `prompt_id`, `sample`,
    `reference`, `language`, `stop_reason` and `new_tokens`. Other fields are left alone.
    """
    if out is not None and Path(out).resolve() == Path(path).resolve():
        raise UsageError(f"--out {out} is the file of the generations.", "Name another file for the scores.")
    result = score_generations(read_generations(path), metrics, intervals=intervals)
    if out is not None:
        write_jsonl(out, _lines(result))
    return result


def _lines(result: ScoredFile) -> list[dict[str, Any]]:
    lines = []
    for place, generation in enumerate(result.generations):
        scores = {name: column[place] for name, column in result.scores.items()}
        lines.append(
            {
                "prompt_id": generation.prompt_id,
                "sample": generation.sample,
                "scores": {name: score.value for name, score in scores.items()},
                "reasons": {name: score.reason for name, score in scores.items() if score.value is None},
                "details": {name: dict(score.detail) for name, score in scores.items() if score.detail},
            }
        )
    return lines


def read_generations(path: str | Path) -> list[Generation]:
    """The generations of a JSONL file, ours or somebody else's; what is wrong is a `UserError` with file and line."""
    rows = read_numbered_rows(path)
    if not rows:
        raise UserError(f"{path} holds no generations.", 'A line looks like {"prompt": "...", "completion": "..."}.')
    seen: dict[str, int] = {}
    generations = []
    for number, row in rows:
        where = f"{path}:{number}"
        _check_fields(row, where)
        name = str(next(row[key] for key in ("prompt_id", "task_id", "prompt") if row.get(key) is not None))
        sample = seen.get(name, 0) if row.get("sample") is None else row["sample"]
        seen[name] = seen.get(name, 0) + 1
        generations.append(
            Generation(
                name,
                row.get("prompt") or "",
                row["completion"],
                row.get("new_tokens"),
                row.get("stop_reason"),
                sample,
                row.get("seed"),
                row.get("language"),
                row.get("reference"),
            )
        )
    return generations


def _check_fields(row: dict[str, Any], where: str) -> None:
    if "completion" not in row:
        names = ", ".join(row) or "none"
        raise UserError(
            f"{where}: no field completion (fields found: {names}).", "Rename the field that holds the text."
        )
    if not any(row.get(name) is not None for name in ("prompt", "task_id", "prompt_id")):
        raise UserError(f"{where}: neither prompt nor task_id.", "Add one of them, so that the line can be told apart.")
    for name in ("completion", "prompt", "reference", "language"):
        if not isinstance(row.get(name, ""), str) and not (row[name] is None and name != "completion"):
            raise UserError(
                f"{where}: the field {name} is a {type(row[name]).__name__}, not text.", "Write it as text."
            )
    for name in ("sample", "new_tokens"):
        if row.get(name) is not None and type(row[name]) is not int:
            raise UserError(f"{where}: the field {name} is not a whole number.", "Mend it, or leave it out.")
    stop = row.get("stop_reason")
    if stop is not None and stop not in STOP_REASONS:
        raise UserError(f'{where}: unknown stop_reason "{stop}".', did_you_mean(str(stop), STOP_REASONS))
