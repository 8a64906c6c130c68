"""THE RECIPE of `evalsuite study`: strategies x draws x seeds -> selections -> runs -> one report on the strategies.

A draw is a selection made with its own seed, coordinated with the same draw of every other strategy; every selection is
trained with every training seed. What is finished is reused and what was begun goes on, so the same command after a
crash takes up where it stopped. A cell that fails costs that cell: the others go on, and it is tried again next time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from curate.console import say
from curate.errors import UserError
from curate.selection.record import Selection, read_selection
from curate.sources.target import load_target
from evaluate_suite.config import ReportConfig
from evaluate_suite.reporting.recipe import Report, report
from evaluate_suite.study.budgets import with_random_budgets
from evaluate_suite.study.cells import make_selection, measure_run, train_run
from evaluate_suite.study.plan import (
    PlannedSelection,
    StudyPlan,
    is_finished_run,
    plan_study,
    planned_jobs,
)
from evaluate_suite.study.plan_file import write_study_file
from evaluate_suite.study.request import StudyRequest
from evaluate_suite.study.runner import Failed, Here, Runner, attempt
from finetune.model import base_model_kept, forget_base_model

T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """A finished study: its report, its file, and the cells that failed, each with its reason."""

    report: Report
    file: Path
    failed: list[str]


def study(request: StudyRequest, command: Sequence[str] = (), runner: Runner | None = None) -> Study:
    """The report on every run of the study, made or, where it exists already, reused.

    `runner` says who makes the cells; None: this process, one after the other.
    """
    request = with_random_budgets(request)
    plan = plan_study(request)
    asked = {s.config.target: s.config.read_options() for s in plan.selections if s.config.target and s.made is None}
    for target, options in asked.items():
        load_target(target, options)  # a name that is mistaken is said now, not when all else is trained
    file = write_study_file(request.as_file())
    say(f"The study as a file: {file}")
    failed: list[str] = []
    who = runner or Here()
    try:
        drawn, selections = make_selections(plan, failed, command, who)
        runs = train_all(request, replace(plan, selections=drawn), selections, failed, command, who)
        if not runs:
            raise UserError(
                f"No cell of the study could be finished. The first failed so: {failed[0]}", "Fix that first."
            )
        config = ReportConfig(
            runs=tuple(map(str, runs)), prompts=request.prompts, max_new_tokens=request.max_new_tokens, by=request.by
        )
        if runner is not None:  # side by side; in one process the report does it
            measure_all(runs, config, runner)
    finally:
        who.end()
    with base_model_kept():
        made = report(config, request.out, command)
    forget_base_model()
    return Study(made, file, failed)


def measure_all(runs: Sequence[Path], config: ReportConfig, runner: Runner) -> None:
    """Measure every run and their base model; what fails is left to the report."""
    works = [(runs[0], False), *((run, True) for run in runs)]
    names = [f"measures of {run.name if tuned else 'the base model'}" for run, tuned in works]
    outcomes = runner.run(measure_run, [(str(run), config, tuned) for run, tuned in works], names)
    for outcome, name in zip(outcomes, names, strict=True):
        if isinstance(outcome, Failed):
            say(f"With the report: {name} ({outcome.why})")


def require_all(study: Study) -> None:
    """Fail where a cell did: the report stands, and lacks it."""
    if study.failed:
        raise UserError(
            f"{len(study.failed)} cells of the study failed, and the report lacks them: {'; '.join(study.failed)}",
            "The same command tries them again and keeps the rest.",
        )


def make_selections(
    plan: StudyPlan, failed: list[str], command: Sequence[str], runner: Runner
) -> tuple[list[PlannedSelection], list[Selection]]:
    """Every selection of the plan that can be made or reused, with its plan; what fails is added to `failed`.

    The first is made here: what it reads, counts and embeds, the others find in the cache.
    """
    names = [f"{planned.label}, draw {planned.config.seed}" for planned in plan.selections]
    cells = [(planned.config, command) for planned in plan.selections]
    outcomes = [
        *Here().run(make_selection, cells[:1], names[:1]),
        *runner.run(make_selection, cells[1:], names[1:]),
    ]
    made = _without_failed(list(zip(plan.selections, outcomes, strict=True)), names, failed)
    return [planned for planned, _ in made], [read_selection(folder) for _, folder in made]


def train_all(
    request: StudyRequest,
    plan: StudyPlan,
    selections: Sequence[Selection],
    failed: list[str],
    command: Sequence[str],
    runner: Runner,
) -> list[Path]:
    """The folders of all runs that could be trained, taken up or reused; what fails is added to `failed`."""
    jobs = planned_jobs(plan, selections, request.seeds)
    names = [f"{selection.path.name}, seed {seed}" for selection, seed in jobs]
    cells = [
        (request.recipe.model_copy(update={"seed": seed}), str(selection.path), request.wandb_mode, command)
        for selection, seed in jobs
    ]
    open_cells = [number for number, job in enumerate(jobs) if not is_finished_run(request, *job)]
    outcomes: list[Any] = [None] * len(jobs)
    for number in range(len(jobs)):
        if number not in open_cells:  # by its digest, wherever it was made
            outcomes[number] = attempt(train_run, cells[number])
    trained = runner.run(train_run, [cells[n] for n in open_cells], [names[n] for n in open_cells])
    for number, outcome in zip(open_cells, trained, strict=True):
        outcomes[number] = outcome
    return [Path(folder) for _, folder in _without_failed(list(zip(jobs, outcomes, strict=True)), names, failed)]


def _without_failed(pairs: Sequence[tuple[T, Any]], names: Sequence[str], failed: list[str]) -> list[tuple[T, str]]:
    """Return the cells that were done, each with its result; say the others and add them to `failed`."""
    done = []
    for (cell, outcome), name in zip(pairs, names, strict=True):
        if isinstance(outcome, Failed):
            failed.append(f"{name}: {outcome.why}")
            say(f"Failed, and left out: {failed[-1]}")
        else:
            done.append((cell, str(outcome)))
    return done
