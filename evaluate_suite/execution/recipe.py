"""Runs a file of generations against a file of tasks, and can be stopped and started again at any point."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from curate.artifact import append_jsonl, digest_json, file_lock
from curate.artifact.outputs import set_aside
from curate.artifact.sealed import read_sealed, sealed, write_sealed
from curate.code.program import indentation_lost
from curate.console import progress, say
from curate.errors import UsageError, UserError, did_you_mean
from evaluate_suite.config import ExecuteConfig
from evaluate_suite.execution.backends import AUTO, BACKENDS, choose_backend, is_own
from evaluate_suite.execution.limits import DEFAULT_LIMITS, Limits
from evaluate_suite.execution.pass_at_k import mean_pass_at_k, pass_at_k
from evaluate_suite.execution.samples import SEALED_AS, Sample, notes_of, read_generations, read_references
from evaluate_suite.execution.sandbox import (
    INTERRUPTED,
    UNSCORED_REASONS,
    ProgramResult,
    refuse_visible,
)
from evaluate_suite.statistics.bounded import bounded_mean_interval
from evaluate_suite.statistics.pairs import share_with_interval
from evaluate_suite.tasks.task_files import STYLES, Style, Task, read_tasks

KS = (1, 10, 100)
Item = TypeVar("Item")
Known = TypeVar("Known", bound=str)
Judge = Literal["apart", "together"]
JUDGES: tuple[Judge, ...] = ("apart", "together")


@dataclass(frozen=True)
class ExecutionSummary:
    """What came out: shares are 0 to 1 and None where nothing could be scored; counts are of samples or of tasks."""

    executed: bool
    mode: str
    judge: str
    tasks: int
    tasks_without_generation: int
    samples: int
    scored: int
    unscored: int
    passed: int
    pass_at_1: float | None
    pass_at_k: dict[str, float | None] = field(default_factory=dict)
    tasks_scored_at_k: dict[str, int] = field(default_factory=dict)
    intervals: dict[str, list[float] | None] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def default_workers() -> int:
    """Programs at a time where nothing else is asked: one for each CPU this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(config: ExecuteConfig, limits: Limits | None = None) -> ExecutionSummary:
    """Run every generation and write one line each to `out`; without `execute` both files are only checked.

    Without a `style` it is completion, and raw for files of whole programs. `limits` are those of every program; None
    stands for the defaults, with the config's CPU seconds.
    A line is appended, with a seal, as soon as its result exists; a rerun goes on with the samples that have none, or
    whose line was changed since, which is said. At the end
    the lines are put in the order of the generations, so that the same inputs give the same bytes.
    """
    style = None if config.style is None else _one_of("style", config.style, STYLES)
    judge = _one_of("judge", config.judge, JUDGES)
    if config.workers is not None and config.workers < 1:
        raise UsageError(f"workers is {config.workers}.", "Give at least 1.")
    if (config.generations is None) != config.reference:
        raise UsageError("Give one of --generations and --reference.", "--generations FILE scores FILE.")
    if limits is None:
        seconds = config.cpu_seconds
        limits = DEFAULT_LIMITS if seconds is None else replace(DEFAULT_LIMITS, cpu_seconds=seconds)
    tasks = read_tasks(config.tasks)
    settings: dict[str, Any] = {"limits": asdict(limits), "judge": judge}
    settings |= {} if config.backend == AUTO or is_own(config.backend) else {"backend": config.backend}
    samples = [
        Sample(task, index, answer, kind, digest_json([asdict(task), answer, {**settings, "style": kind}]))
        for task, index, answer, kind in (
            read_generations(config.generations, tasks, style, cut_at_function=config.cut_at_function)
            if config.generations is not None
            else read_references(tasks)
        )
    ]
    if not config.execute:
        return _summary(tasks, samples, {}, "", judge)
    if config.out is None:
        raise UsageError("--out is missing.", "Name the file for the results, for example: --out results.jsonl")
    for name, source in (("tasks", config.tasks), ("generations", config.generations)):
        if source is not None and config.out.resolve() == source.resolve():
            raise UsageError(f"--out {config.out} is the file of the {name}.", "Name another file for the results.")
    refuse_visible(config.tasks)
    backend = choose_backend(config.backend, unsafe_local=config.unsafe_local)
    target = config.out
    with file_lock(target.with_name(target.name + ".lock")):
        done = _read_done(target, samples)
        todo = [sample for sample in samples if sample.digest + str(sample.index) not in done]

        def keep(sample: Sample, result: ProgramResult) -> None:
            row = _line(sample, result, judge)
            append_whole(target, sealed(row, SEALED_AS))
            done[sample.digest + str(sample.index)] = row

        def run(sample: Sample) -> ProgramResult:
            return run_answer(sample.task, sample.answer, sample.style, limits, backend, judge)

        run_pool(todo, run, keep, config.workers or default_workers())
        write_sealed(target, [done[sample.digest + str(sample.index)] for sample in samples], SEALED_AS)
    return _summary(tasks, samples, done, backend, judge)


def _one_of(name: str, value: str, known: tuple[Known, ...]) -> Known:
    for one in known:
        if one == value:
            return one
    raise UsageError(f'{name} "{value}" is not known.', did_you_mean(value, known))


def _read_done(target: Path, samples: list[Sample]) -> dict[str, dict[str, Any]]:
    if target.is_dir():
        raise UserError(f"--out {target} is a folder.", "Name a file.")
    if not target.exists():
        return {}
    rows, damaged = read_sealed(target, SEALED_AS)
    known = {sample.digest + str(sample.index) for sample in samples}
    keys = [f"{row['program_digest']}{row['sample']}" for row in rows]
    if any(key not in known for key in keys) or (not rows and target.stat().st_size):
        raise UserError(
            f"{target} holds results of other generations, tasks or limits, or none that this version wrote.",
            "Choose another --out, or remove it.",
        )
    if damaged:
        kept = set_aside(target)
        say(f"{damaged} of the results in {target} are not as they were written; running their programs again.")
        say(f"The changed file is kept as {kept}.")
    write_sealed(target, rows, SEALED_AS)  # without a torn end, so that appending is safe, once it is known to be ours
    return {key: row for key, row in zip(keys, rows, strict=True) if row["reason"] not in UNSCORED_REASONS}


def run_pool(
    todo: Sequence[Item],
    run: Callable[[Item], ProgramResult],
    keep: Callable[[Item, ProgramResult], None],
    workers: int,
) -> None:
    """Run all of `todo`, `workers` at a time; `keep` gets each result, here in this thread, as soon as it exists.

    What ends it early, an interrupt or an error, ends the programs that run; they have no result then.
    """
    queue = list(todo)[::-1]
    INTERRUPTED.clear()
    with progress("Running programs", len(queue)) as advance, ThreadPoolExecutor(workers) as pool:
        running: dict[Future[ProgramResult], Item] = {}
        try:
            while queue or running:
                while queue and len(running) < 2 * workers:
                    item = queue.pop()
                    running[pool.submit(run, item)] = item
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    keep(running.pop(future), future.result())
                    advance(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            INTERRUPTED.set()
            raise


def run_answer(
    task: Task,
    answer: str,
    style: Style,
    limits: Limits,
    backend: str,
    judge: Judge = "apart",
) -> ProgramResult:
    """Return whether `answer` passes the tests of `task`, in a process of their own or together with them in one."""
    job = task.job(answer, style)
    if job is None:
        return ProgramResult(False, "no_code", "the answer holds no code")
    if style != "raw" and task.continues_prompt and indentation_lost(task.prompt, answer):
        return ProgramResult(
            False,
            "indentation_lost",
            "IndentationError: the completion came without the blanks its first line begins with (a server or a "
            "client stripped it); --style raw puts them back",
        )
    return BACKENDS[backend].run(replace(job, kind="together") if judge == "together" else job, limits)


def _line(sample: Sample, result: ProgramResult, judge: Judge) -> dict[str, Any]:
    return {
        "task_id": sample.task.task_id,
        "sample": sample.index,
        "passed": None if result.reason in UNSCORED_REASONS else result.passed,
        "reason": result.reason,
        "detail": result.detail,
        "judge": judge,
        "program_digest": sample.digest,
    }


def append_whole(target: Path, row: dict[str, Any]) -> None:
    """Append a line of JSON; where that fails half-way (a full disk), the half is taken back."""
    size = target.stat().st_size if target.exists() else 0
    try:
        append_jsonl(target, row)
    except UserError:
        if target.exists():
            os.truncate(target, size)
        raise


def _summary(
    tasks: dict[str, Task],
    samples: list[Sample],
    done: dict[str, dict[str, Any]],
    mode: str,
    judge: Judge,
) -> ExecutionSummary:
    counts: dict[str, tuple[int, int]] = {}
    reasons: dict[str, int] = {}
    for row in done.values():
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
        if row["passed"] is not None:
            n, c = counts.get(row["task_id"], (0, 0))
            counts[row["task_id"]] = (n + 1, c + bool(row["passed"]))
    most = max((n for n, _ in counts.values()), default=0)
    ks = [k for k in KS if k == 1 or k <= most]
    scored = sum(n for n, _ in counts.values())
    values = list(counts.values())
    return ExecutionSummary(
        executed=bool(mode),
        mode=mode,
        judge=judge,
        tasks=len(tasks),
        tasks_without_generation=len(tasks) - len({sample.task.task_id for sample in samples}),
        samples=len(samples),
        scored=scored,
        unscored=len(samples) - scored,
        passed=sum(c for _, c in values),
        pass_at_1=mean_pass_at_k(values, 1),
        pass_at_k={str(k): mean_pass_at_k(values, k) for k in ks},
        tasks_scored_at_k={str(k): sum(n >= k for n, _ in values) for k in ks},
        intervals={str(k): _interval(values, k) for k in ks},
        reasons=dict(sorted(reasons.items())),
        notes=notes_of(samples, done),
    )


def _interval(counts: list[tuple[int, int]], k: int) -> list[float] | None:
    """The 95% interval of pass@k over tasks: they are what was drawn, their samples are not independent."""
    values = [pass_at_k(n, c, k) for n, c in counts if n >= k]
    if set(values) <= {0.0, 1.0}:
        estimate = share_with_interval(int(sum(values)), len(values))
    else:
        estimate = bounded_mean_interval(values, (0.0, 1.0))
    return None if estimate.low is None or estimate.high is None else [estimate.low, estimate.high]


def summary_rows(summary: ExecutionSummary) -> list[tuple[str, str]]:
    """What was run and why it failed, for a terminal."""
    rows = [("tasks", str(summary.tasks)), ("programs", str(summary.samples))]
    if summary.tasks_without_generation:
        rows.append(("tasks without a generation", str(summary.tasks_without_generation)))
    if not summary.executed:
        return [*rows, ("executed", "nothing: add --execute")]
    if summary.mode == "none":
        rows.append(("sandbox", "NONE (--unsafe-local)"))
    if summary.judge == "together":
        rows.append(("judge", "together with the program, which can fake a pass"))
    rows += [("scored", str(summary.scored)), ("unscored", str(summary.unscored))]
    return rows + [(reason.replace("_", " "), str(n)) for reason, n in summary.reasons.items()]


def result_lines(summary: ExecutionSummary) -> list[str]:
    """pass@k with its interval over tasks, one line for each k; without execution, that the files are sound."""
    if not summary.executed:
        return [f"valid: {summary.samples} programs for {summary.tasks} tasks; nothing was run"]
    lines = []
    for k, value in summary.pass_at_k.items():
        n = summary.tasks_scored_at_k[k]
        if value is None:
            lines.append(f"pass@{k} none (no task was scored)")
            continue
        interval = summary.intervals[k]
        between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        lines.append(f"pass@{k} {value:.3f}{between}, {n} {'task' if n == 1 else 'tasks'}")
    return lines
