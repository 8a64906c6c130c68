"""How well programs are found in answers, on made answers whose truth is known, as one JSON object.

    ROWPICK_DATA=DIR python benchmarks/answer_programs.py     # DIR holds HumanEval.jsonl and mbpp-601-974.jsonl

Made data: solutions of HumanEval and MBPP in 55 surroundings (benchmarks/made_answers.py): prose, fences, drafts,
helpers, tests, second tasks, cut ends. lost: answers that hold the right function and whose program, cut to what is
needed, does not pass. stop_gap: pass@1 cut minus pass@1 as written, in points, beside its truth by construction.
well_formed: answers that are well-formed by construction and called so. A program whose statements are those of the
solution, no more and no less, passes as the solution does, and one that does not parse fails: these are decided without
running; the others run in the sandbox, equal ones once. --no-run leaves those undecided and counts them.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.made_answers import MadeAnswer, made_answers, solutions
from curate.artifact import digest_json
from curate.code.languages import python_tree
from curate.code.program import Program
from evaluate_suite.execution.limits import DEFAULT_LIMITS
from evaluate_suite.execution.recipe import UNSCORED_REASONS, default_workers, run_pool
from evaluate_suite.execution.sandbox import ProgramResult, choose_mode, run_job
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import METRICS
from evaluate_suite.tasks.job import Job
from evaluate_suite.tasks.task_files import Task, read_tasks


def statements_of(code: str) -> frozenset[str] | None:
    """The statements of a program but for its imports and docstring-only functions; None where it does not parse."""
    tree = python_tree(code)
    if isinstance(tree, str):
        return None
    return frozenset(
        ast.dump(stmt) for stmt in tree.body if not isinstance(stmt, ast.Import | ast.ImportFrom)
    ) | frozenset(ast.dump(stmt) for stmt in tree.body if isinstance(stmt, ast.Import | ast.ImportFrom))


def read_all(data: Path) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    for name in ("HumanEval.jsonl", "mbpp-601-974.jsonl"):
        tasks |= read_tasks(data / name)
    return tasks


class Decider:
    """Says of programs whether they pass: without running where that can be known, in the sandbox where not."""

    def __init__(self, run: bool) -> None:
        self.run = run
        self.known: dict[str, bool | None] = {}
        self.solved: dict[str, frozenset[str] | None] = {}
        self.jobs: dict[str, Job] = {}
        self.how: Counter[str] = Counter()

    def ask(self, task: Task, code: str | None) -> str | bool:
        """True or False where it is decided, else the key under which `known` has the result after `finish`."""
        statements = None if code is None else statements_of(code)
        if code is None or statements is None:
            self.how["does not parse" if code is not None else "no code"] += 1
            return False
        solved = self.solved.get(task.task_id)
        if solved is not None and statements == solved:
            self.how["the solution's statements"] += 1
            return True
        job = task.job_of_code(code)
        key = digest_json(asdict(job))
        self.jobs[key] = job
        self.how["run in the sandbox"] += 1
        return key

    def finish(self) -> None:
        missing = [key for key in self.jobs if key not in self.known]
        if not self.run:
            self.known |= dict.fromkeys(missing, None)
            return
        mode = choose_mode()

        def keep(key: str, result: ProgramResult) -> None:
            self.known[key] = None if result.reason in UNSCORED_REASONS else result.passed

        run_pool(missing, lambda key: run_job(self.jobs[key], DEFAULT_LIMITS, mode), keep, default_workers())

    def result(self, asked: str | bool) -> bool | None:
        return self.known[asked] if isinstance(asked, str) else asked


def measure(tasks: dict[str, Task], decider: Decider, seed: int) -> dict[str, Any]:
    usable = _usable_tasks(tasks, decider, seed)
    answers = list(made_answers(usable, seed))
    started = time.process_time()
    programs: list[Program | None] = [answer.task.program(answer.text) for answer in answers]
    parse_seconds = time.process_time() - started
    decider.how.clear()
    cut = [decider.ask(a.task, None if p is None else p.code) for a, p in zip(answers, programs, strict=True)]
    written = [decider.ask(a.task, None if p is None else p.written) for a, p in zip(answers, programs, strict=True)]
    decider.finish()
    cut_passes = [decider.result(asked) for asked in cut]
    written_passes = [decider.result(asked) for asked in written]
    lost = [a for a, passed in zip(answers, cut_passes, strict=True) if a.right and passed is False]
    wrong_written = [
        a for a, passed in zip(answers, written_passes, strict=True) if passed not in (None, a.written_passes)
    ]
    both = [
        (float(c) - float(w), float(a.right) - float(a.written_passes))
        for a, c, w in zip(answers, cut_passes, written_passes, strict=True)
        if c is not None and w is not None
    ]
    return {
        "data": "made",
        "tasks": len(usable),
        "tasks_whose_solution_does_not_pass_here": len(tasks) - len(usable),
        "answers": len(answers),
        "surroundings": len({answer.surroundings for answer in answers}),
        "milliseconds_an_answer": round(1000 * parse_seconds / max(1, len(answers)), 2),
        "lost_percent": round(100 * len(lost) / max(1, sum(a.right for a in answers)), 3),
        "lost": dict(Counter(answer.surroundings for answer in lost)),
        "stop_gap_points": round(100 * sum(measured for measured, _ in both) / max(1, len(both)), 3),
        "true_stop_gap_points": round(100 * sum(true for _, true in both) / max(1, len(both)), 3),
        "written_otherwise_than_true": dict(Counter(answer.surroundings for answer in wrong_written)),
        "unscored_pairs": len(answers) - len(both),
        **well_formed(answers),
        "decided": dict(decider.how),
        "decided_without_running_percent": round(
            100 * (1 - decider.how["run in the sandbox"] / max(1, sum(decider.how.values()))), 1
        ),
        "programs_run": len(decider.jobs) if decider.run else 0,
    }


def _usable_tasks(tasks: dict[str, Task], decider: Decider, seed: int) -> dict[str, Task]:
    """The tasks whose own solution passes here; all of them where nothing may be run."""
    asked = {s.task.task_id: decider.ask(s.task, s.code) for s in solutions(tasks, seed)}
    decider.finish()
    usable = {name for name, key in asked.items() if decider.result(key) or not decider.run}
    decider.solved = {s.task.task_id: statements_of(s.code) for s in solutions(tasks, seed)}
    return {name: task for name, task in tasks.items() if name in usable}


def well_formed(answers: list[MadeAnswer]) -> dict[str, Any]:
    metric = METRICS["well_formed_answer"]
    clean = [answer for answer in answers if answer.well_formed]
    missed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for answer in clean:
        score = metric.score(Generation("p", answer.task.prompt, answer.text, 9, "end_token", language="python"))
        if score.value != 1:
            missed[answer.surroundings] += 1
            failed.update(score.detail["failed"])
    return {
        "well_formed_by_construction": len(clean),
        "called_well_formed_percent": round(100 * (1 - sum(missed.values()) / max(1, len(clean))), 2),
        "not_called_so": dict(missed),
        "for": dict(failed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ROWPICK_DATA"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=4, help="Take every Nth task (1: all, for 24,000 answers).")
    parser.add_argument("--no-run", action="store_true")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data or set ROWPICK_DATA")
    tasks = dict(list(read_all(Path(args.data)).items())[:: args.every])
    record = measure(tasks, Decider(not args.no_run), args.seed)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
