"""THE RECIPE of `evalsuite study`: strategies x draws x seeds -> selections -> runs -> one report on the strategies.

A draw is a selection made with its own seed, coordinated with the same draw of every other strategy; every selection is
trained with every training seed. What is finished is reused and what was begun goes on, so the same command after a
crash takes up where it stopped. A cell that fails costs that cell: the others go on, and it is tried again next time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curate.artifact import MANIFEST
from curate.console import say
from curate.errors import UserError
from curate.pipeline import select
from curate.selection.record import Selection
from evaluate_suite.config import ReportConfig
from evaluate_suite.reporting.recipe import Report, report
from evaluate_suite.study.plan import (
    PlannedSelection,
    StudyPlan,
    StudyRequest,
    is_finished_run,
    plan_study,
    planned_jobs,
)
from evaluate_suite.study.plan_file import write_study_file
from finetune.config import RunConfig
from finetune.recipe import train
from finetune.run.record import CONFIG, run_folder


@dataclass(frozen=True)
class Study:
    """A finished study: its report, its file, and the cells that failed, each with its reason."""

    report: Report
    file: Path
    failed: list[str]


def study(request: StudyRequest, command: Sequence[str] = ()) -> Study:
    """The report on every run of the study, made or, where it exists already, reused."""
    plan = plan_study(request)
    file = write_study_file(request.as_file())
    say(f"The study as a file: {file}")
    failed: list[str] = []
    drawn, selections = make_selections(plan, failed, command)
    runs = train_all(request, replace(plan, selections=drawn), selections, failed, command)
    if not runs:
        raise UserError(f"No cell of the study could be finished. The first failed so: {failed[0]}", "Fix that first.")
    config = ReportConfig(runs=tuple(map(str, runs)), prompts=request.prompts, max_new_tokens=request.max_new_tokens)
    return Study(report(config, request.out, command), file, failed)


def require_all(study: Study) -> None:
    """Fail where a cell did: the report stands, and lacks it."""
    if study.failed:
        raise UserError(
            f"{len(study.failed)} cells of the study failed, and the report lacks them: {'; '.join(study.failed)}",
            "The same command tries them again and keeps the rest.",
        )


def make_selections(
    plan: StudyPlan, failed: list[str], command: Sequence[str] = ()
) -> tuple[list[PlannedSelection], list[Selection]]:
    """Every selection of the plan that can be made or reused, with its plan; what fails is added to `failed`."""
    drawn, selections = [], []
    for number, planned in enumerate(plan.selections, start=1):
        cell = f"{planned.label}, draw {planned.config.seed}"
        say(f"Selection {number} of {len(plan.selections)}: {cell}")
        try:
            selections.append(select(planned.config, None, command))
        except Exception as error:  # of any kind: the other cells have nothing to do with it
            _tell(cell, error, failed)
            continue
        drawn.append(planned)
    return drawn, selections


def train_all(
    request: StudyRequest,
    plan: StudyPlan,
    selections: Sequence[Selection],
    failed: list[str],
    command: Sequence[str] = (),
) -> list[Path]:
    """The folders of all runs that could be trained, taken up or reused; what fails is added to `failed`."""
    jobs = planned_jobs(plan, selections, request.seeds)
    started, trained = time.perf_counter(), 0
    runs = []
    for number, (selection, seed) in enumerate(jobs, start=1):
        config = request.recipe.model_copy(update={"seed": seed})
        if not is_finished_run(request, selection, seed):
            left = len(jobs) - number + 1
            pace = (
                "" if not trained else f", about {(time.perf_counter() - started) / trained * left / 60:.0f} min left"
            )
            say(f"Run {number} of {len(jobs)}: {selection.path.name}, seed {seed}{pace}")
            trained += 1
        try:
            runs.append(train(config, selection, None, _is_begun(config, selection), request.wandb_mode, command).path)
        except Exception as error:  # of any kind, memory that ran out among them
            _tell(f"{selection.path.name}, seed {seed}", error, failed)
    return runs


def _tell(cell: str, error: Exception, failed: list[str]) -> None:
    what = " ".join(str(error).split()) or "no message"
    failed.append(f"{cell}: {what}" if isinstance(error, UserError) else f"{cell}: {type(error).__name__}: {what}")
    say(f"Failed, and left out: {failed[-1]}")


def _is_begun(config: RunConfig, selection: Selection) -> bool:
    """Whether the run's folder holds this run, unfinished."""
    folder = run_folder(config, selection, None)
    return (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file()
