"""The report artifact: every number a page prints, as dataclasses, and `report.json` on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curate.artifact import read_manifest, read_output, write_json
from curate.errors import UserError
from curate.page import CurationView
from evaluate_suite.metrics import OLD_NAMES
from evaluate_suite.statistics.types import Estimate, PairedDifference
from evaluate_suite.training_curve.types import HistoryPoint, Verdict

KIND = "evaluate_suite.report"
SCHEMA = f"{KIND}/1"
REPORT = "report.json"
PAGE = "index.html"
GENERATIONS = "generations.jsonl"
EXECUTIONS = "executions.jsonl"
BASE = "base"


@dataclass(frozen=True)
class RunResult:
    """One run on the page. Losses are nats a token over the outputs of the holdout; gain is base minus tuned.

    `tokens` are those of the selected rows; `trained_tokens`, `steps` and `epochs` say what the run trained on.
    """

    name: str
    selection: str
    strategy: str
    seed: int | None
    rows: int
    tokens: int | None
    base_loss: Estimate
    tuned_loss: Estimate
    gain: Estimate
    base_perplexity: float | None
    tuned_perplexity: float | None
    verdict: Verdict
    history: list[HistoryPoint]
    metrics: dict[str, Estimate]
    trained_tokens: int | None = None
    steps: int | None = None
    epochs: float | None = None
    elapsed_seconds: float | None = None
    peak_memory_gib: float | None = None
    commands: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricInfo:
    """A metric as the page names it. `better` is "higher", "lower" or "neither"; `share` prints it as a percentage."""

    name: str
    title: str
    better: str
    share: bool = True


@dataclass(frozen=True)
class StrategyMetric:
    """One metric of a strategy over its runs. Spreads are standard deviations between draws and between seeds."""

    estimate: Estimate
    draw_spread: float | None
    seed_spread: float | None


@dataclass(frozen=True)
class StrategyResult:
    """Runs that differ only in the draw of their selection and the training seed, taken together.

    `scope` is what its comparisons are about: strategies, selections or runs. The spreads are standard deviations of
    eval loss between draws and between seeds; None where not varied. Token counts are of selected rows. `metrics` has
    every other measure by its name.
    """

    name: str
    runs: list[str]
    n_draws: int
    n_seeds: int
    loss: Estimate
    draw_spread: float | None
    seed_spread: float | None
    scope: str
    random_equivalent: dict[str, Any] | None = None
    metrics: dict[str, StrategyMetric] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """What one model wrote to one prompt; text from character `answer_end` on is trailing (None: nothing is)."""

    model: str
    text: str
    answer_end: int | None
    stop_reason: str | None
    new_tokens: int | None
    scores: dict[str, float | None]


@dataclass(frozen=True)
class PromptOutputs:
    """One prompt and what every model wrote to it, the base model first, then the runs in the report's order."""

    prompt_id: str
    prompt: str
    language: str | None
    outputs: list[Output]


@dataclass(frozen=True)
class ReportData:
    """A whole report. `headline` is the answer, `second` its certainty or what could have been seen."""

    name: str
    headline: str
    second: str
    base_model: str
    winner: str | None
    facts: list[tuple[str, str]]
    notes: list[str]
    metrics: list[MetricInfo]
    base_metrics: dict[str, Estimate]
    runs: list[RunResult]
    pairs: list[PairedDifference]
    curations: list[CurationView]
    prompts: list[PromptOutputs]
    settings: dict[str, Any]
    versions: dict[str, str]
    command: str
    strategies: list[StrategyResult] = field(default_factory=list)


def record_of(data: ReportData) -> dict[str, Any]:
    """`data` as `report.json` holds it: every number, no generated text (that is in `generations.jsonl`)."""
    record = asdict(data)
    prompts = record.pop("prompts")
    for prompt in prompts:
        for output in prompt["outputs"]:
            del output["text"]
        del prompt["prompt"]
    for curation in record["curations"]:
        del curation["points"]
    return {"schema": SCHEMA, **record, "prompts": prompts}


def write_report_json(folder: Path, data: ReportData) -> None:
    """Write `report.json`."""
    write_json(folder / REPORT, record_of(data))


def read_report_json(folder: Path) -> dict[str, Any]:
    """The record of a finished report, as a mapping; it must be the one that its manifest describes."""
    again = "Make the report again."
    data = read_output(folder, read_manifest(folder, KIND), REPORT, again)
    try:
        record = json.loads(data)
    except ValueError as error:
        raise UserError(f"{folder / REPORT} is not a report ({error}).", again) from None
    return dict(_with_new_names(record))


def _with_new_names(value: Any) -> Any:
    """A record in which metrics have their names of today: as keys, as names, and at the head of a measure."""
    if isinstance(value, dict):
        return {OLD_NAMES.get(key, key): _with_new_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_new_names(item) for item in value]
    if isinstance(value, str):
        for old, new in OLD_NAMES.items():
            head, comma, rest = value.partition(",")
            if head.lower() in (old, old.replace("_", " ")):
                return (new if head == old else new.replace("_", " ")) + comma + rest
    return value


def model_names(data: ReportData) -> Sequence[str]:
    """The models in the order of every prompt's outputs: base, then the runs."""
    return [BASE, *(run.name for run in data.runs)]
