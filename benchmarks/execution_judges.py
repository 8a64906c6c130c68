"""Right programs under both judges, and programs near their CPU limit with few and many workers.

`python benchmarks/execution.py --parts judges,workers --tasks HumanEval.jsonl` prints them.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from evaluate_suite.execution.limits import DEFAULT_LIMITS, Limits
from evaluate_suite.execution.recipe import JUDGES, Judge, run_answer
from evaluate_suite.execution.sandbox import choose_mode, run_job
from evaluate_suite.tasks.job import Job
from evaluate_suite.tasks.task_files import Task, read_tasks
from tests.evaluate_suite.execution.right_programs import all_programs, near_the_limit


def judges(tasks_file: Path, workers: int) -> dict[str, Any]:
    """How many right programs (made) and reference solutions (found) pass, with the tests apart and together."""
    right = [(Task("t", r.prompt, r.entry_point, r.test, "", bool(r.prompt)), r.program) for r in all_programs()]
    references = [(task, task.reference) for task in read_tasks(tasks_file).values()]
    found: dict[str, Any] = {}
    for name, programs in (("right_programs", right), (tasks_file.name, references)):
        for judge in JUDGES:
            reasons = _reasons(programs, judge, workers)
            share = round(reasons["passed"] / len(programs), 4)
            found[f"{name} {judge}"] = {"programs": len(programs), "passed_share": share, "reasons": dict(reasons)}
    return found


def _reasons(programs: list[tuple[Task, str]], judge: Judge, workers: int) -> Counter[str]:
    mode = choose_mode()
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda p: run_answer(p[0], p[1], "completion", DEFAULT_LIMITS, mode, judge), programs)
        return Counter(result.reason for result in results)


def many_workers(counts: tuple[int, ...] = (2, 60)) -> dict[str, Any]:
    """Verdicts of 60 programs that use 60% of their CPU limit or sleep for twice of it, by the number of workers."""
    limits = Limits(cpu_seconds=0.25)
    jobs = [Job(p, "test", "", "assert f() == 1", "f") for p in near_the_limit(limits.cpu_seconds, 60)]
    mode, found = choose_mode(), {}
    for workers in counts:
        began = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            reasons = Counter(r.reason for r in pool.map(lambda job: run_job(job, limits, mode), jobs))
        found[f"{workers} workers"] = {"reasons": dict(reasons), "seconds": round(time.perf_counter() - began, 1)}
    return found
