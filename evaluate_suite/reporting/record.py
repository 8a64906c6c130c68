"""The report's record: every number a page prints, as `report.json` holds it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from curate.artifact import Lifts, Record, RecordPart
from curate.page import CurationView
from evaluate_suite.metrics import OLD_NAMES
from evaluate_suite.statistics.equivalents import RandomEquivalent
from evaluate_suite.statistics.types import MODELS, Estimate, PairedDifference
from evaluate_suite.training_curve.types import HistoryPoint, Verdict
from finetune.check.row_tokens import RowView

KIND = "evaluate_suite.report"
REPORT = "report.json"
PAGE = "index.html"
GENERATIONS = "generations.jsonl"
EXECUTIONS = "executions.jsonl"
BASE = "base"


class RunResult(RecordPart):
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
    commands: list[str] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)
    digests: dict[str, str] = Field(default_factory=dict)


class MetricInfo(RecordPart):
    """A metric as the page names it. `better` is "higher", "lower" or "neither"; `share` prints it as a percentage."""

    name: str
    title: str
    better: str
    share: bool = True


class StrategyMetric(RecordPart):
    """One metric of a strategy over its runs. Spreads are standard deviations between draws and between seeds."""

    estimate: Estimate
    draw_spread: float | None
    seed_spread: float | None


class StrategyResult(RecordPart):
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
    random_equivalent: RandomEquivalent | None = None
    metrics: dict[str, StrategyMetric] = Field(default_factory=dict)


class Output(RecordPart):
    """What one model wrote to one prompt; text from character `answer_end` on is trailing (None: nothing is).

    The text is for the page; the file leaves it to `generations.jsonl`, so it is None in a record that was read.
    """

    model: str
    text: str | None = Field(default=None, exclude=True)
    answer_end: int | None
    stop_reason: str | None
    new_tokens: int | None
    scores: dict[str, float | None]


class PromptOutputs(RecordPart):
    """One prompt and what every model wrote to it, the base model first, then the runs in the report's order.

    The prompt's text is left to `generations.jsonl`, as those of the outputs are.
    """

    prompt_id: str
    prompt: str | None = Field(default=None, exclude=True)
    language: str | None
    outputs: list[Output]


class ShownRow(RecordPart):
    """One selected row, token by token, with the base model's losses."""

    selection: str
    view: RowView


def _from_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    """Lift a record of schema 1, in which metrics had other names, pairs one p, and the evidence was one sentence."""
    content = dict(_with_new_names(content))
    content["pairs"] = [_pair_of_schema_1(pair) for pair in content["pairs"]]
    for run in content["runs"]:
        verdict = run["verdict"]
        if isinstance(verdict["evidence"], str):
            words = [part.rpartition(" ") for part in verdict["evidence"].split(", ") if part]
            verdict["evidence"] = {name.replace(" ", "_"): float(value) for name, _, value in words}
    return content


def _with_new_names(value: Any) -> Any:
    """Return a record in which metrics have their names of today: as keys, as names, and at the head of a measure."""
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


def _pair_of_schema_1(pair: dict[str, Any]) -> dict[str, Any]:
    """Lift a pair: `p_adjusted` was Holm's p; the scope stood in the measure's title, "clean answer, strategies"."""
    if "scope" in pair:
        return pair
    title, _, scope = str(pair["measure"]).partition(", ")
    measure = title if title == "eval loss" else title.replace(" ", "_")
    kept = {name: value for name, value in pair.items() if name != "p_adjusted"}
    return kept | {"measure": measure, "scope": scope or MODELS, "p_holm": pair.get("p_adjusted")}


class ReportRecord(Record):
    """A whole report. `headline` is the answer, `second` its certainty or what could have been seen."""

    file: ClassVar[str] = REPORT
    lifts: ClassVar[Lifts] = {1: _from_schema_1, 2: lambda content: content}  # 3 added the rows shown

    schema_: Literal["evaluate_suite.report/3"] = Field(default="evaluate_suite.report/3", alias="schema")
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
    settings: dict[str, Any]
    versions: dict[str, str]
    command: str
    strategies: list[StrategyResult] = Field(default_factory=list)
    prompts: list[PromptOutputs]
    rows: list[ShownRow] = Field(default_factory=list)

    @property
    def models(self) -> list[str]:
        """The models in the order of every prompt's outputs: base, then the runs."""
        return [BASE, *(run.name for run in self.runs)]
