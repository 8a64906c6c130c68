"""THE RECIPE of `evalsuite report`: find runs, refuse unfair comparisons, score, generate, judge, compare, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.artifact import (
    MANIFEST,
    digest_json,
    finished,
    is_made,
    one_writer,
    read_manifest,
    record_file,
    write_jsonl,
    write_manifest,
)
from curate.errors import GateError, UserError
from evaluate_suite.config import ReportConfig
from evaluate_suite.reporting.executed import answer_tasks, execution_lines, prepare_execution, run_tasks
from evaluate_suite.reporting.record import (
    EXECUTIONS,
    GENERATIONS,
    KIND,
    PAGE,
    REPORT,
    PromptOutputs,
    ReportRecord,
)
from evaluate_suite.reporting.work import Evaluation, Work

if TYPE_CHECKING:
    from finetune.run.record import Run

GATES = ("overfit", "regression")
# What must be equal for two runs to be compared: (what it is called, key of the run's manifest config).
MUST_AGREE = (
    ("holdout", "holdout_digest"),
    ("tokenizer", "tokenizer_digest"),
    ("prompt template", "prompt_template_text"),
    ("base model", "model"),
)


@dataclass(frozen=True)
class Report:
    """A finished report: its folder, and the record in its `report.json`."""

    path: Path
    record: ReportRecord


def report(config: ReportConfig, out: Path | None = None, command: Sequence[str] = ()) -> Report:
    """Return the finished report on the runs asked for, made or, where the same one exists already, reused."""
    work = prepare(config)
    folder = report_folder(work) if out is None else out
    with one_writer(folder):
        if not is_made(folder, KIND, "report_digest", report_digest(work), (PAGE, REPORT, GENERATIONS, EXECUTIONS)):
            make(work, folder, command)
    return read_report(folder)


def read_report(folder: Path) -> Report:
    """Return a finished report, read back; the texts of its generations stay in their file."""
    return Report(folder, ReportRecord.read(folder, read_manifest(folder, KIND), "Make the report again."))


def make(work: Work, folder: Path, command: Sequence[str]) -> None:
    """Measure what is not in the cache, judge, compare, and write the report."""
    from evaluate_suite.reporting.shown_rows import show_rows

    with work.timed("eval_loss"):
        score_holdout(work)
        work.shown_rows = show_rows(work)
    with work.timed("generate"):
        write_answers(work)
        answer_tasks(work)
    with work.timed("execute"):
        run_tasks(work)
    with work.timed("compare"):
        data = compare(work, folder.name)
    with work.timed("write"):
        write(work, data, folder, command)


def prepare(config: ReportConfig) -> Work:
    """Read runs and selections, refuse an unfair comparison, and decide on rows and prompts. Loads no model."""
    from evaluate_suite.generation.engines import checked_engine
    from evaluate_suite.generation.raw_prompts import load_raw_prompts
    from evaluate_suite.generation.record import DecodingSettings
    from evaluate_suite.reporting.eval_loss import choose_rows
    from evaluate_suite.reporting.models import ReportModels
    from finetune.run.record import read_run

    runs = [read_run(run) for run in config.runs or finished_run_paths()]
    evaluations = [Evaluation(run, run.read_selection()) for run in runs]
    refuse_unfair(runs)
    for run in runs:
        run.check_adapter()
    models = ReportModels(checked_engine(config.engine))
    limits = [run.config.report_eval_rows for run in runs if run.config.report_eval_rows is not None]
    rows = choose_rows(evaluations[0].selection.holdout, min(limits) if limits else None, models.context(runs[0]))
    if not rows.scored:
        raise UserError("The holdout has no row that can be scored.", "Select again with --holdout 200.")
    usual = min(run.config.report_max_new_tokens for run in runs)
    settings = DecodingSettings(max_new_tokens=usual if config.max_new_tokens is None else config.max_new_tokens)
    settings.check()
    execution = prepare_execution(config)
    return Work(config, evaluations, settings, load_raw_prompts(config.prompts), rows, models, execution)


def finished_run_paths() -> list[Path]:
    """Every finished run, oldest first; none is an error that names the next step."""
    from finetune.run.record import KIND as RUN_KIND
    from finetune.run.record import runs_dir

    paths = finished(runs_dir(), RUN_KIND)
    if not paths:
        raise UserError(f"There is no finished run in {runs_dir()}.", "Make one with: finetune run")
    return paths


def refuse_unfair(runs: Sequence[Run]) -> None:
    """Raise when runs differ in anything that would make their numbers incomparable, naming it and the runs."""
    names = [run.path.name for run in runs]
    if len(set(names)) < len(names):
        raise UserError(
            f"Two runs have the same name ({', '.join(names)}).",
            "Name each run once; of folders of one name, rename all but one.",
        )
    for what, key in MUST_AGREE:
        groups: dict[str, list[str]] = {}
        for run in runs:
            groups.setdefault(str(run.manifest.config[key]), []).append(run.path.name)
        if len(groups) > 1:
            listed = "; ".join(f"{_short(value)}: {', '.join(members)}" for value, members in groups.items())
            raise UserError(
                f"These runs cannot be compared: they differ in their {what} ({listed}).",
                "Name runs that share it, for example: evalsuite report " + " ".join(next(iter(groups.values()))),
            )


def _short(value: str) -> str:
    line = " ".join(value.split())
    return line[:12] if len(line) == 64 else line[:60]


def report_digest(work: Work) -> str:
    """Digest of everything the report depends on: runs, adapters, rows, prompts and settings."""
    from dataclasses import asdict

    from evaluate_suite.reporting.models import model_identity

    runs = [
        [e.name, e.run.manifest.config["run_digest"], model_identity(e.run, e.selection, True)]
        for e in work.evaluations
    ]
    return digest_json(
        [
            runs,
            [row.row_id for row in work.rows.scored],
            [asdict(prompt) for prompt in work.prompts],
            work.settings.as_record(),
            *([] if work.execution is None else [work.execution.digest]),
            *([] if work.config.engine == "auto" else [work.config.engine]),
            *([] if work.config.by is None else [work.config.by]),
        ]
    )


def report_folder(work: Work) -> Path:
    """Return `reports/<run, or number of runs>-<first 8 of the digest>`."""
    first = work.evaluations[0].name if len(work.evaluations) == 1 else f"{len(work.evaluations)}-runs"
    return Path("reports") / f"{first}-{report_digest(work)[:8]}"


def score_holdout(work: Work) -> None:
    """Eval loss of every run and its base model, row by row; one model load per base model, cached by content."""
    for evaluation in work.evaluations:
        run, selection = evaluation.run, evaluation.selection
        evaluation.base_losses = work.models.losses(run, selection, work.rows.scored, tuned=False)
        evaluation.tuned_losses = work.models.losses(run, selection, work.rows.scored, tuned=True)


def write_answers(work: Work) -> None:
    """Greedy generations from the raw prompts, of the base model and of every run; resumable at every prompt."""
    for evaluation in work.evaluations:
        run, selection = evaluation.run, evaluation.selection
        evaluation.generations = work.models.generations(run, selection, work.prompts, work.settings, tuned=True)
    first = work.evaluations[0]
    work.base_generations = work.models.generations(
        first.run, first.selection, work.prompts, work.settings, tuned=False
    )


def compare(work: Work, name: str) -> ReportRecord:
    """Everything the page says, computed from what was measured."""
    from evaluate_suite.reporting.findings import build_report

    return build_report(work, name)


def write(work: Work, data: ReportRecord, folder: Path, command: Sequence[str]) -> None:
    """Write the report's files, the manifest last, and the index that lists it."""
    from curate.artifact import write_text
    from curate.page import write_index
    from evaluate_suite.reporting.page import render_report_page

    folder.mkdir(parents=True, exist_ok=True)
    n_lines = write_jsonl(folder / GENERATIONS, generation_lines(data.prompts))
    outputs = [record_file(folder, GENERATIONS, n_lines)]
    if work.execution is not None:
        n_executed = write_jsonl(folder / EXECUTIONS, execution_lines(work))
        outputs.append(record_file(folder, EXECUTIONS, n_executed))
    data.write(folder)
    write_text(folder / PAGE, render_report_page(data))
    inputs = [
        record_file(e.run.path, MANIFEST).model_copy(update={"file": f"{e.name}/{MANIFEST}"}) for e in work.evaluations
    ]
    write_manifest(
        folder,
        kind=KIND,
        command=command,
        config={
            "report_digest": report_digest(work),
            "runs": [evaluation.name for evaluation in work.evaluations],
            "headline": data.headline,
            "second": data.second,
            "facts": data.facts,
            **work.settings.as_record(),
            "engine": work.config.engine,
        },
        seed=None,
        inputs=inputs,
        outputs=[*outputs, record_file(folder, REPORT), record_file(folder, PAGE)],
        counts={
            "runs": len(data.runs),
            "prompts": len(data.prompts),
            "eval_rows": len(work.rows.scored),
            "tasks": len(work.execution.tasks) if work.execution else 0,
        },
        seconds=work.seconds,
    )
    write_index(folder.parent)


def generation_lines(prompts: Sequence[PromptOutputs]) -> Iterator[dict[str, Any]]:
    """The lines of `generations.jsonl`: one per prompt and model, with its scores."""
    for prompt in prompts:
        for output in prompt.outputs:
            yield {
                "model": output.model,
                "prompt_id": prompt.prompt_id,
                "prompt": prompt.prompt,
                "language": prompt.language,
                "completion": output.text,
                "answer_end": output.answer_end,
                "stop_reason": output.stop_reason,
                "new_tokens": output.new_tokens,
                "scores": output.scores,
            }


def check_gates(record: ReportRecord, gates: Sequence[str]) -> None:
    """Raise a `GateError` (exit code 3) naming every run that fails one of `gates`.

    overfit: the verdict is overfit or diverged. regression: the tuned model's eval loss is shown to be above the base
    model's (the interval of the gain lies below 0).
    """
    failed = []
    for run in record.runs:
        if "overfit" in gates and run.verdict.verdict in ("overfit", "diverged"):
            failed.append(f"{run.name} is {run.verdict.verdict}")
        if "regression" in gates and run.gain.high is not None and run.gain.high < 0:
            failed.append(f"{run.name} has a higher eval loss than its base model")
    if failed:
        raise GateError("; ".join(failed) + ".", "The report was written; see the verdict's suggestion in it.")
