"""Proxy runs: each selects, trains and is judged in a folder of its own; what is finished is kept and reused."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree

from curate.artifact import MANIFEST, digest_json
from curate.artifact.sealed import read_sealed, write_sealed
from curate.config import SelectConfig
from curate.errors import UserError
from curate.pipeline import select
from curate.selection.record import SelectedRow
from evaluate_suite.reporting.models import ReportModels
from evaluate_suite.study.runner import Failed, Runner
from finetune.config import RunConfig
from finetune.model import base_model_kept, forget_base_model
from finetune.recipe import train
from finetune.run.base_model import base_model_digest
from finetune.run.record import CONFIG

FIRST_DRAW = 1_000  # proxies draw with numbers of their own, so that no draw of a study is one of them
ROWS, SOURCES = "rows", "sources"  # what a loss is the mean of: all tokens, or the sources' losses
AIMS = (ROWS, SOURCES)
SHARES = "shares"  # the folder of a proxy's own strata and shares


@dataclass(frozen=True)
class Job:
    """One proxy run: the selection and the training it makes, and the rows it is judged by.

    `shares` is the digest of the strata and shares it selects by, which stand in its folder; None for other strategies.
    """

    number: int
    world: Path
    selection: SelectConfig
    recipe: RunConfig
    judges: list[SelectedRow]
    pool_digest: str
    shares: str | None = None

    @cached_property
    def identity(self) -> str:
        """The digest of all that decides the result: equal jobs of different calls share it."""
        places = {"dataset", "target", "mixture"}  # the contents of these decide, and stand in the digests
        settings = {name: value for name, value in self.selection.as_record().items() if name not in places}
        judges = [row.row_id for row in self.judges]
        weights = base_model_digest(self.recipe.model)  # of a folder: they may be replaced under the same path
        return digest_json([settings, self.recipe.model_dump(), weights, judges, self.pool_digest, self.shares])

    @property
    def folder(self) -> Path:
        """Where it works."""
        return self.world / self.identity[:24]

    @property
    def file(self) -> Path:
        """Where its result is kept."""
        return self.folder.with_suffix(".jsonl")


@dataclass(frozen=True)
class Result:
    """What came of a proxy run: its picks in order, [summed loss in nats, tokens] of the judges by source, seconds."""

    number: int
    picked: list[str]
    losses: dict[str, tuple[float, int]]
    seconds: float

    def loss(self, aim: str) -> float:
        """Return the loss a token: over all rows, or the mean over the sources' own."""
        if aim == SOURCES:
            return math.fsum(nll / n for nll, n in self.losses.values()) / len(self.losses)
        return math.fsum(nll for nll, _ in self.losses.values()) / sum(n for _, n in self.losses.values())


def finished_result(job: Job) -> Result | None:
    """Return what an earlier call kept of this job, where it is whole and of this very job."""
    lines, _ = read_sealed(job.file, job.identity)
    if not lines:
        return None
    line = lines[0]
    return Result(line["number"], line["picked"], {s: (v[0], v[1]) for s, v in line["losses"].items()}, line["seconds"])


def run_proxy(job: Job) -> str:
    """Select, train and judge; the result is kept and everything else removed. Returns the result's file."""
    started = time.perf_counter()
    shares = {} if job.shares is None else {"mixture": str(job.folder / SHARES)}
    selection = select(job.selection.model_copy(update=shares), job.folder / "selection")
    folder = job.folder / "run"
    begun = (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file()
    with base_model_kept():
        run = train(job.recipe, selection, folder, begun)
        by_row = ReportModels().losses(run, selection, job.judges, tuned=True)
    losses: dict[str, tuple[float, int]] = {}
    for row, loss in zip(job.judges, by_row, strict=True):
        nll, n = losses.get(row.source, (0.0, 0))
        losses[row.source] = (nll + loss.nll, n + loss.tokens)
    picked = [row.row_id for row in selection.selected]
    write_sealed(job.file, [asdict(Result(job.number, picked, losses, time.perf_counter() - started))], job.identity)
    rmtree(job.folder)  # a run's adapter and checkpoints would be the most of it
    return str(job.file)


def run_all(jobs: Sequence[Job], runner: Runner) -> list[Result]:
    """Return every proxy's result, in order; a `UserError` that names those that failed once all were tried."""
    todo = [job for job in jobs if finished_result(job) is None]
    try:
        outcomes = runner.run(run_proxy, [(job,) for job in todo], [f"proxy run {job.number}" for job in todo])
    finally:
        runner.end()
        forget_base_model()
    failed = [
        f"proxy run {job.number}: {outcome.why}"
        for job, outcome in zip(todo, outcomes, strict=True)
        if isinstance(outcome, Failed)
    ]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(jobs)} proxy runs failed: {'; '.join(failed)}",
            "The same command tries them again and keeps the rest.",
        )
    results = [result for job in jobs if (result := finished_result(job)) is not None]
    if len(results) < len(jobs):
        raise UserError("Results of proxy runs were removed while others ran.", "Give the same command again.")
    return results


def cost_lines(jobs: Sequence[Job], seconds_a_run: float | None) -> list[str]:
    """What is left to train and about how long that takes, for people; `seconds_a_run` is of another run, or None."""
    results = [finished_result(job) for job in jobs]
    known = [result.seconds for result in results if result is not None]
    left = len(jobs) - len(known)
    lines = [f"{len(jobs)} proxy runs, {len(known)} finished already, {left} to train."]
    each = sum(known) / len(known) if known else seconds_a_run
    if left and each is not None:
        lines.append(f"About {each * left / 60:.0f} minutes one after the other, at {each:.0f} s a run.")
    elif left:
        lines.append("How long that takes is not known: no run of this model is finished here.")
    return lines
