"""Recall and false positives of `--decontaminate` on planted leaks, beside n-gram overlap in the same run.

    python benchmarks/curate_decontamination.py --data DIR     # about a minute on 2 cores

DIR (default $ROWPICK_DATA) holds HumanEval.jsonl, mbpp-601-974.jsonl and the clean rows codegen-4.5k.jsonl and
codealpaca-2k.jsonl; the stdlib rows are mined on the spot. 1,000 leaks of the promised kinds are built from one half of
the tasks (by digest of id); the rules were tuned on the other half, where `--half tuned` measures. Rows beyond the
promise (several disguises at once) are reported apart. The clean rows are pools as people use them: they hold real
overlaps with both benchmarks (fibonacci, is_prime, add), and `--show` prints each hit to be judged by eye. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.planted_leaks import HARDER_KINDS, KINDS, Plant, plant
from curate.artifact import digest_text
from curate.decontamination import BenchmarkTask, find_leaks, load_benchmarks
from curate.pool.rows import Row, build_row
from curate.sources import load_rows

N_LEAKS = 1_000
N_HARDER = 300
Found = dict[int, str]


def tuned_on(task: BenchmarkTask) -> bool:
    """Whether the rules were tuned on this task."""
    return int(digest_text(task.task_id), 16) % 2 == 0


def our_leaks(rows: Sequence[Row], tasks: Sequence[BenchmarkTask]) -> Found:
    return {index: str(detail) for index, _, detail in find_leaks(rows, tasks)}


def shares_words(n: int) -> Callable[[Sequence[Row], Sequence[BenchmarkTask]], Found]:
    """A row leaks when it shares a run of `n` words with a task's request or solution (Brown et al., 2020: 13)."""

    def grams(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    def find(rows: Sequence[Row], tasks: Sequence[BenchmarkTask]) -> Found:
        known = {gram: task.task_id for task in tasks for text in (task.description, task.code) for gram in grams(text)}
        return {
            row.row_index: known[shared]
            for row in rows
            if (shared := next((g for g in grams(f"{row.instruction} {row.output}") if g in known), None))
        }

    return find


def shares_characters(n: int) -> Callable[[Sequence[Row], Sequence[BenchmarkTask]], Found]:
    """A row leaks when it shares `n` characters in a row, white space and signs left out (OpenAI, 2023: 50)."""

    def bare(text: str) -> str:
        return re.sub(r"[\W_]+", "", text.lower())

    def find(rows: Sequence[Row], tasks: Sequence[BenchmarkTask]) -> Found:
        known = {}
        for task in tasks:
            for text in map(bare, (task.description, task.code)):
                known.update({text[i : i + n]: task.task_id for i in range(len(text) - n + 1)})
        found = {}
        for row in rows:
            text = bare(f"{row.instruction} {row.output}")
            hit = next((known[text[i : i + n]] for i in range(len(text) - n + 1) if text[i : i + n] in known), None)
            if hit:
                found[row.row_index] = hit
        return found

    return find


WAYS: dict[str, Callable[[Sequence[Row], Sequence[BenchmarkTask]], Found]] = {
    "rowpick": our_leaks,
    "shared run of 13 words": shares_words(13),
    "shared run of 10 words": shares_words(10),
    "shared run of 50 characters": shares_characters(50),
}


def make_plants(
    tasks: Sequence[BenchmarkTask], kinds: Sequence[str], n: int, clean: Sequence[Row], seed: int
) -> list[Plant]:
    """`n` leaks, kinds in turn, tasks in a shuffled order each before any again."""
    rng = random.Random(seed)
    plants: list[Plant] = []
    for number in range(n):
        if number % (len(tasks) * len(kinds)) == 0:
            order = {kind: rng.sample(list(tasks), len(tasks)) for kind in kinds}
        kind = kinds[number % len(kinds)]
        task = order[kind][number // len(kinds) % len(tasks)]
        innocent = rng.choice(clean)
        plants.append(plant(task, kind, (innocent.instruction, innocent.output), rng))
    return plants


def recall(found: Found, plants: Sequence[Plant], offset: int) -> dict[str, float]:
    """The share of the plants that was found, of all and by kind."""
    hits: dict[str, list[bool]] = {"all": []}
    for number, each in enumerate(plants, start=offset):
        hits["all"].append(number in found)
        hits.setdefault(each.kind, []).append(number in found)
    return {kind: round(sum(hit) / len(hit), 4) for kind, hit in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ROWPICK_DATA"))
    parser.add_argument("--half", choices=["other", "tuned"], default="other")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--show", action="store_true", help="print every clean row that is taken for a leak, and misses"
    )
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data or set ROWPICK_DATA")
    tasks, _ = load_benchmarks([str(args.data / "HumanEval.jsonl"), str(args.data / "mbpp-601-974.jsonl")])
    pools = {name: load_rows(str(args.data / name)).rows for name in ("codegen-4.5k.jsonl", "codealpaca-2k.jsonl")}
    pools["stdlib"] = load_rows("stdlib").rows
    clean = [row for rows in pools.values() for row in rows]
    measured = [task for task in tasks if tuned_on(task) == (args.half == "tuned")]
    plants = make_plants(measured, KINDS, N_LEAKS, clean, args.seed)
    harder = make_plants(measured, HARDER_KINDS, N_HARDER, clean, args.seed + 1)
    texts = [(row.instruction, row.output) for row in clean] + [(p.instruction, p.output) for p in plants + harder]
    rows = [build_row(number, *pair, "benchmark") for number, pair in enumerate(texts)]
    result: dict[str, Any] = {
        "tasks": len(tasks), "tasks_planted_from": len(measured), "clean_rows": len(clean), "planted": len(plants),
    }  # fmt: skip
    for name, find in WAYS.items():
        started = time.perf_counter()
        found = find(rows, tasks)
        seconds = time.perf_counter() - started
        false, at = {}, 0
        for pool, pool_rows in pools.items():
            false[pool] = sum(number in found for number in range(at, at + len(pool_rows)))
            at += len(pool_rows)
        result[name] = {
            "recall": recall(found, plants, len(clean)),
            "recall_beyond_the_promise": recall(found, harder, len(clean) + len(plants)),
            "clean_rows_taken_for_leaks": {**false, "share_of_all": round(sum(false.values()) / len(clean), 5)},
            "seconds": round(seconds, 2),
            "rows_per_second": round(len(rows) / seconds),
        }
        if args.show and name == "rowpick":
            for number in sorted(found):
                if number < len(clean):
                    row = clean[number]
                    print(found[number], "|", repr(row.instruction[:150]), "|", repr(row.output[:200]), file=sys.stderr)
            for number, each in enumerate(plants):
                if len(clean) + number not in found:
                    print("MISSED", each.kind, each.task_id, repr(each.instruction), repr(each.output), file=sys.stderr)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
