"""A run's model card and result files for the hub: what a report measured of it, with intervals and sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from pydantic import BaseModel

from curate.artifact import finished, read_manifest, read_output
from curate.errors import UserError
from finetune.run.record import README, Run

REPORTS = Path("reports")
REPORT_KIND = "evaluate_suite.report"
_REPORT, _EXECUTIONS = "report.json", "executions.jsonl"
_AGAIN = "Make the report again."
# Benchmarks that the hub keeps a table of: how their task ids begin, their dataset and task there, how many tasks.
_BENCHMARKS = {"HumanEval/": ("openai/openai_humaneval", "openai_humaneval", 164)}


class Figure(BaseModel):
    """A number of a report with its 95% interval over `n` items."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


class Measured(BaseModel):
    """What a report says of one run; a report says more, which stays there."""

    name: str
    tuned_loss: Figure
    base_loss: Figure
    gain: Figure
    metrics: dict[str, Figure] = {}
    digests: dict[str, str] = {}

    @property
    def figures(self) -> dict[str, Figure]:
        """Every figure that has a value, by name."""
        named = {
            "eval_loss": self.tuned_loss, "base_model_eval_loss": self.base_loss, "eval_loss_gain": self.gain,
            **self.metrics,
        }  # fmt: skip
        return {name: figure for name, figure in named.items() if figure.value is not None}


@dataclass(frozen=True)
class Results:
    """A run's part of a report, and the benchmark its programs were executed on where the hub knows it."""

    report: Path
    measured: Measured
    benchmark: tuple[str, str] | None


def find_results(run: Run, report: str | None = None) -> Results | None:
    """Return what the named report, or the newest one in reports/ that has this very run, measured of it.

    A named report without the run is a `UserError`; without a name there may be none.
    """
    if report is not None:
        named = Path(report) if Path(report).is_dir() else REPORTS / report
        results = _results_in(named, run)
        if results is None:
            raise UserError(f"The report {named} has no run {run.path.name} as it is now.", "Name another --report.")
        return results
    for folder in reversed(finished(REPORTS, REPORT_KIND)):
        results = _results_in(folder, run)
        if results is not None:
            return results
    return None


def _results_in(folder: Path, run: Run) -> Results | None:
    manifest = read_manifest(folder, REPORT_KIND)
    runs = json.loads(read_output(folder, manifest, _REPORT, _AGAIN))["runs"]
    for each in map(Measured.model_validate, runs):
        if each.digests.get("run") == run.manifest.config["run_digest"]:
            executed = any(record.file == _EXECUTIONS for record in manifest.outputs)
            lines = read_output(folder, manifest, _EXECUTIONS, _AGAIN).splitlines() if executed else []
            tasks = {json.loads(line)["task_id"] for line in lines}
            return Results(folder, each, _benchmark(tasks))
    return None


def _benchmark(tasks: set[str]) -> tuple[str, str] | None:
    """Return the hub's dataset and task that these are, all of them."""
    for head, (dataset, task, count) in _BENCHMARKS.items():
        if len(tasks) == count and all(each.startswith(head) for each in tasks):
            return dataset, task
    return None


def card_with_results(run: Run, results: Results) -> str:
    """Return the run's model card with its figures: as `model-index` for programs, as a table for people.

    Every figure has its 95% interval, its number of items, and the digest of the selection the run was trained on.
    """
    card = ModelCard((run.path / README).read_text(encoding="utf-8"), ignore_metadata_errors=False)
    digest = results.measured.digests.get("selection", run.manifest.config["selection_digest"])
    results_of_run = [
        EvalResult(
            task_type="text-generation",
            dataset_type="rowpick-selection",
            dataset_name=f"held-out rows and prompts of {results.report.name}",
            dataset_args={"selection_digest": digest},
            metric_type=name,
            metric_value=figure.value,
            metric_args={"low": figure.low, "high": figure.high, "n": figure.n, "interval": 0.95},
        )
        for name, figure in results.measured.figures.items()
    ]
    metadata: dict[str, Any] = vars(card.data)
    front = ModelCardData(**{**metadata, "model_name": run.path.name, "eval_results": results_of_run})
    lines = [
        "",
        f"Measured by the report `{results.report.name}` (selection digest {digest[:8]}):",
        "",
        "| measure | value | 95% interval | n |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name.replace('_', ' ')} | {_rounded(figure.value)} | {_interval(figure)} | {figure.n} |"
            for name, figure in results.measured.figures.items()
        ),
        "",
    ]
    return "\n".join([f"---\n{front.to_yaml()}\n---", card.text.rstrip("\n"), *lines])


def result_files(run: Run, results: Results | None) -> dict[str, bytes]:
    """Return the files of the hub's own kind by their name there: none but for a whole benchmark that was executed."""
    passed = results.measured.metrics.get("passes_tests") if results else None
    if results is None or results.benchmark is None or passed is None or passed.value is None:
        return {}
    dataset, task = results.benchmark
    digest = results.measured.digests.get("selection", run.manifest.config["selection_digest"])
    entry = EvalResultEntry(
        dataset_id=dataset,
        task_id=task,
        value=round(100 * passed.value, 2),
        notes=f"pass@1 in percent, greedy; 95% interval {_interval(passed, 100)}, n = {passed.n}; "
        f"trained on the selection {digest[:8]}",
    )
    text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
    return {f".eval_results/{task}.yaml": text.encode()}


def _rounded(value: Any, times: float = 1) -> str:
    return f"{value * times:.4g}"


def _interval(figure: Figure, times: float = 1) -> str:
    if figure.low is None or figure.high is None:
        return "not known"
    return f"{_rounded(figure.low, times)} to {_rounded(figure.high, times)}"
