"""What running a model's answers to tasks showed: as written, cut at the end of the answer, and as a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from curate.artifact import digest_json, file_lock
from curate.artifact.sealed import read_sealed, sealed, write_sealed
from curate.console import say
from evaluate_suite.execution.backends import BACKENDS
from evaluate_suite.execution.limits import DEFAULT_LIMITS, Limits
from evaluate_suite.execution.recipe import append_whole, default_workers, run_pool
from evaluate_suite.execution.sandbox import UNSCORED_REASONS, ProgramResult
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import ExecutionOutcome
from evaluate_suite.tasks.job import Job
from evaluate_suite.tasks.task_files import Task

NO_CODE = "no_code"
SEALED_AS = "execution"  # a line names its program, test and limits by digest: nothing else decides it


@dataclass(frozen=True)
class Programs:
    """The programs one answer makes; None where it holds no code. `written` and `cut` carry the task's test."""

    written: Job | None
    cut: Job | None

    @property
    def script(self) -> Job | None:
        return None if self.written is None else Job(self.written.program)


def programs_of(task: Task, generation: Generation) -> Programs:
    """The programs of an answer to the raw prompt of `task`.

    An answer that goes on with the function of the prompt is joined to it. As written is all of that text, or all of
    the fenced blocks that hold what the tests want, or all of the text where nothing is fenced; cut is that function
    with what it needs, and nothing else. Reasoning drafts and what follows an end token belong to neither.
    """
    program = task.program(generation.completion)
    if program is None:
        return Programs(None, None)
    return Programs(task.job_of_code(program.written), task.job_of_code(program.code))


def run_answers(
    tasks: Mapping[str, Task],
    generations: Sequence[Generation],
    backend: str,
    results_file: Path,
    limits: Limits = DEFAULT_LIMITS,
) -> dict[tuple[str, int], ExecutionOutcome]:
    """Outcomes by (prompt_id, sample), the prompt_id being the task_id.

    Equal programs run once. Each result is appended to `results_file` as soon as it exists, by digest of program, test
    and limits, and never made again; what no program is to blame for is tried again next time.
    """
    programs = {(g.prompt_id, g.sample): programs_of(tasks[g.prompt_id], g) for g in generations}
    jobs = {
        _digest(job, limits): job for p in programs.values() for job in (p.written, p.cut, p.script) if job is not None
    }
    results_file.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(results_file.with_name(results_file.name + ".lock")):
        results = _read(results_file)

        def keep(digest: str, result: ProgramResult) -> None:
            results[digest] = (result.passed, result.reason)
            if result.reason not in UNSCORED_REASONS:
                line = {"program_digest": digest, "passed": result.passed, "reason": result.reason}
                append_whole(results_file, sealed(line, SEALED_AS))

        missing = [digest for digest in jobs if digest not in results]
        run_pool(missing, lambda digest: BACKENDS[backend].run(jobs[digest], limits), keep, default_workers())
    return {key: _outcome(each, results, limits) for key, each in programs.items()}


def _digest(job: Job, limits: Limits) -> str:
    return digest_json([asdict(job), asdict(limits)])


def _read(results_file: Path) -> dict[str, tuple[bool, str]]:
    rows, damaged = read_sealed(results_file, SEALED_AS)
    if damaged:
        say(f"{damaged} cached executions in {results_file} were damaged; running them again.")
    if results_file.exists():
        write_sealed(results_file, rows, SEALED_AS)  # without a torn end, so that appending is safe
    return {row["program_digest"]: (row["passed"], row["reason"]) for row in rows}


def _outcome(programs: Programs, results: Mapping[str, tuple[bool, str]], limits: Limits) -> ExecutionOutcome:
    def result(job: Job | None) -> tuple[bool | None, str]:
        if job is None:
            return False, NO_CODE
        passed, reason = results[_digest(job, limits)]
        return None if reason in UNSCORED_REASONS else passed, reason

    passed, reason = result(programs.written)
    runs, _ = (None, NO_CODE) if programs.script is None else result(programs.script)
    return ExecutionOutcome(passed, result(programs.cut)[0], runs, reason)
