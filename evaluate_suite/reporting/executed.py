"""The executed part of a report: every model answers the tasks of a file, and its answers are run (`--execute`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from curate.artifact import cache_dir
from curate.errors import UsageError
from evaluate_suite.config import ReportConfig
from evaluate_suite.execution.backends import choose_backend
from evaluate_suite.execution.outcomes import run_answers
from evaluate_suite.execution.sandbox import refuse_visible
from evaluate_suite.metrics import MetricContext, metrics_that_need
from evaluate_suite.metrics.generation_files import score_generations
from evaluate_suite.reporting.record import BASE
from evaluate_suite.reporting.work import Execution, Scored, Work
from evaluate_suite.tasks.task_files import read_tasks


def prepare_execution(config: ReportConfig) -> Execution | None:
    """Return the tasks to execute and what runs them, or None when none was asked for; refuses before any work."""
    if config.tasks is None and not config.execute:
        return None
    if config.tasks is None:
        raise UsageError("--execute needs the tasks.", "Add --tasks HumanEval.jsonl.")
    if not config.execute:
        raise UsageError("--tasks runs code that models wrote, which is off.", "Add --execute to run it in a sandbox.")

    tasks = read_tasks(config.tasks)
    refuse_visible(config.tasks)
    return Execution(tasks, choose_backend(config.backend))


def answer_tasks(work: Work) -> None:
    """Greedy answers of the base model and of every run to the tasks' prompts as they stand; resumable."""
    execution = work.execution
    if execution is None:
        return
    first = work.evaluations[0]
    models = [(BASE, first, False), *((evaluation.name, evaluation, True) for evaluation in work.evaluations)]
    for name, evaluation, tuned in models:
        execution.generations[name] = work.models.generations(
            evaluation.run, evaluation.selection, execution.prompts, work.settings, tuned=tuned
        )


def run_tasks(work: Work) -> None:
    """Run every answer in the sandbox; results are kept in the cache as they come."""
    execution = work.execution
    if execution is None:
        return

    kept = cache_dir("executions") / f"{execution.digest[:32]}.jsonl"
    for name, generations in execution.generations.items():
        execution.outcomes[name] = run_answers(execution.tasks, generations, execution.backend, kept)


def score_executed(work: Work) -> Scored | None:
    """The metrics that need execution, of every model, over the tasks; None when nothing was executed."""
    execution = work.execution
    if execution is None:
        return None

    files = [
        score_generations(generations, metrics_that_need("execution"), MetricContext(outcomes=execution.outcomes[name]))
        for name, generations in execution.generations.items()
    ]
    return Scored(list(execution.generations), files)


def execution_lines(work: Work) -> Iterator[dict[str, Any]]:
    """The lines of `executions.jsonl`: one per task and model, with what the sandbox said."""
    execution = work.execution
    if execution is None:
        return
    for place, task_id in enumerate(execution.tasks):
        for name, generations in execution.generations.items():
            generation = generations[place]
            outcome = execution.outcomes[name][generation.prompt_id, generation.sample]
            yield {"model": name, "task_id": task_id, "completion": generation.completion, **asdict(outcome)}
