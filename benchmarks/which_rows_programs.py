"""Run the cells' answers to executed tasks in the project's sandbox: passed or not, by cell and task.

    python benchmarks/which_rows_programs.py HUMANEVAL.jsonl MBPP.jsonl --data DIR --out programs.json

What is run is the wanted function with what it needs, cut out of the answer: what follows it is judged elsewhere. Equal
programs run once; a call that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_plan import MBPP, MODEL
from curate.artifact import digest_json, write_json
from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import decode_completion, encode_prompt, load_tokenizer
from evaluate_suite.execution.backends import BACKENDS, choose_backend
from evaluate_suite.execution.limits import DEFAULT_LIMITS
from evaluate_suite.execution.outcomes import programs_of
from evaluate_suite.execution.recipe import default_workers, run_pool
from evaluate_suite.generation.record import END_TOKEN, MAX_NEW_TOKENS, Generation
from evaluate_suite.tasks.job import Job
from evaluate_suite.tasks.task_files import Task, read_tasks


def jobs_of(file: Path, tasks: Mapping[str, Task], tokenizer: Any) -> dict[str, dict[str, Job | None]]:
    """Return the program of every answer, by cell and task; None where there is none."""
    prompts = {name: encode_prompt(tokenizer, RAW, task.prompt) for name, task in tasks.items()}
    jobs: dict[str, dict[str, Job | None]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        own = jobs.setdefault(record["key"], {})
        for name, (ids, ended) in record["answers"].items():
            text = decode_completion(tokenizer, prompts[name], ids)
            reason = END_TOKEN if ended else MAX_NEW_TOKENS
            own[name] = programs_of(
                tasks[name], Generation(name, tasks[name].prompt, text, len(ids) + ended, reason)
            ).cut
    return jobs


def main() -> None:
    """Run what has not been run, and write what passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("humaneval", type=Path)
    parser.add_argument("mbpp", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = load_tokenizer(MODEL)
    backend = BACKENDS[choose_backend()]
    cache = args.out.with_suffix(".cache.jsonl")
    lines = cache.read_text(encoding="utf-8").splitlines() if cache.is_file() else []
    passed: dict[str, bool] = dict(json.loads(line) for line in lines)
    record = {}
    for name, file, tasks in (
        ("humaneval", args.humaneval, read_tasks("humaneval")),
        ("mbpp", args.mbpp, read_tasks(args.data / MBPP)),
    ):
        jobs = jobs_of(file, tasks, tokenizer)
        by_digest = {digest_json(asdict(job)): job for own in jobs.values() for job in own.values() if job is not None}
        missing = [digest for digest in by_digest if digest not in passed]
        print(json.dumps({"tasks": name, "programs": len(by_digest), "to run": len(missing)}), flush=True)

        def keep(digest: str, result: Any) -> None:
            passed[digest] = bool(result.passed)
            with cache.open("a", encoding="utf-8") as out:
                out.write(json.dumps([digest, passed[digest]]) + "\n")

        def work(digest: str, jobs: Mapping[str, Job] = by_digest) -> Any:
            return backend.run(jobs[digest], DEFAULT_LIMITS)

        run_pool(missing, work, keep, default_workers())
        record[name] = {
            key: {task: float(job is not None and passed[digest_json(asdict(job))]) for task, job in own.items()}
            for key, own in jobs.items()
        }
        write_json(args.out, record)


if __name__ == "__main__":
    main()
