"""Everything of the study "which rows?" that comes before picking: pool, held-out rows, targets, scores, the cells.

    python benchmarks/which_rows_plan.py PLAN --data DIR [--draws 10] [--budget 150000] [--model DIR]

DIR holds codegen-4.5k.jsonl and codealpaca-2k.jsonl; the third source is the embedded stdlib. PLAN becomes a folder
with `rows.npz` (the rows as token ids, their static vectors, roles and scores) and `cells.json` (one cell a run, in the
order in which they are to be made: draw by draw, so that a study that is cut off is balanced). `which_rows.py` picks
the rows of each cell and trains. With --model, a folder of another base model, token counts are that model's, and the
cells are those that ask whether a target is worth as much there; `which_rows_other_model.py` trains them.

H, the held-out rows, is reserved by content, and nothing reads it but what keeps its near-duplicates out of the pool.
V are pool rows kept apart for steering: targets are drawn from them, and influence is taken on them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_cells import FRESH, SOURCES, all_cells, other_model_cells
from benchmarks.which_rows_picks import Rows
from curate.cleaning.exact_duplicates import find_exact_duplicates
from curate.pool.holdout import reserve_holdout
from curate.pool.rows import Row, build_row
from curate.scores.form import well_formed
from curate.scores.target_words import COLUMNS, odds_between, word_features
from curate.sources import load_rows
from curate.strategies.coordinated import row_luck
from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import encode_examples, encode_prompt, load_tokenizer
from curate.vectors.clustering import build_clusters, default_n_clusters
from curate.vectors.embedding import embed_rows
from curate.vectors.neighbours import nearest, one_thread_a_product
from evaluate_suite.generation.raw_prompts import load_raw_prompts
from evaluate_suite.tasks.task_files import read_tasks

MODEL = "smollm2-135m"
HELD_OUT, STEERING, TARGET_ROWS = 150, 800, 60  # H is that many a source, V that many in all
MAX_TOKENS, NEAR_DUPLICATE = 512, 0.95
MBPP, LONGEST_TASK = "mbpp-601-974.jsonl", 320


@dataclass(frozen=True)
class Study:
    """The rows in row_id order, each with its source, role ("H", "V" or "pool"), static vector and ids."""

    rows: list[Row]
    source: NDArray[Any]
    role: NDArray[Any]
    vectors: NDArray[np.float32]
    examples: list[Any]

    def places(self, role: str) -> NDArray[np.int64]:
        """Return where the rows of a role stand."""
        return np.flatnonzero(self.role == role)

    def target(self, source: str, draw: int) -> NDArray[np.int64]:
        """Return the target of one draw: 60 rows of V of that source."""
        rows = self.places("V")
        rows = rows[self.source[rows] == source]
        luck = row_luck([self.rows[i].row_id for i in rows], 2_000_000 + draw)
        return np.asarray(rows[np.argsort(luck, kind="stable")[:TARGET_ROWS]])


def load_study(data: Path, tokenizer: Any) -> Study:
    """Return the rows with their roles; repeated and too long rows and near-duplicates of H and V are left out."""
    files = {"codegen": str(data / "codegen-4.5k.jsonl"), "codealpaca": str(data / "codealpaca-2k.jsonl")}
    named = {
        row.row_id: build_row(0, row.instruction, row.output, name)
        for name in SOURCES
        for row in load_rows(files.get(name, name)).rows
        if row.output.strip()
    }
    rows = [build_row(i, r.instruction, r.output, r.source) for i, (_, r) in enumerate(sorted(named.items()))]
    repeated = {index for index, _, _ in find_exact_duplicates(rows, [])}
    rows = [row for row in rows if row.row_index not in repeated]
    examples = encode_examples(tokenizer, RAW, [(row.instruction, row.output) for row in rows])
    fits = [i for i, example in enumerate(examples) if len(example.input_ids) <= MAX_TOKENS]
    rows, examples = [rows[i] for i in fits], [examples[i] for i in fits]
    vectors = embed_rows(rows, "static")[0]
    source, ids = np.array([row.source for row in rows]), np.array([row.row_id for row in rows])
    role = np.full(len(rows), "pool", dtype="<U4")
    for name in SOURCES:
        held, _ = reserve_holdout(ids[source == name].tolist(), HELD_OUT)
        role[np.isin(ids, sorted(held))] = "H"
    drop = near(vectors, role == "H") & (role != "H")
    luck = row_luck(ids.tolist(), 1_000_000)
    n_open = int(((role == "pool") & ~drop).sum())
    for name in SOURCES:
        mine = np.flatnonzero((source == name) & (role == "pool") & ~drop)
        role[mine[np.argsort(luck[mine])][: round(STEERING * len(mine) / n_open)]] = "V"
    drop |= near(vectors, role == "V") & (role == "pool")
    kept = np.flatnonzero(~drop)
    return Study([rows[i] for i in kept], source[kept], role[kept], vectors[kept], [examples[i] for i in kept])


def near(vectors: NDArray[np.float32], marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows (n,) are near-duplicates of a marked one."""
    with one_thread_a_product():
        return np.asarray(nearest(vectors, vectors[marked])[1] >= NEAR_DUPLICATE)


def odds_by_draw(study: Study, draws: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return log odds (draws x sources x pool) of every target by words: of whole rows, and of instructions alone."""
    features = word_features(study.rows)
    pool, whole, prompts = study.places("pool"), [], []
    for draw in range(draws):
        targets = [study.target(source, draw) for source in SOURCES]
        whole.append([odds_between(features, target, pool) for target in targets])
        prompts.append([odds_between(features[:, :COLUMNS], target, pool) for target in targets])
        print(f"odds of draw {draw}", flush=True)
    return np.array(whole, dtype=np.float32), np.array(prompts, dtype=np.float32)


def write_rows(file: Path, study: Study, draws: int) -> None:
    """Write all that picking and training need of the rows."""
    pool = study.places("pool")
    rows = [study.rows[i] for i in pool]
    labels, centres = build_clusters(
        study.vectors[pool], default_n_clusters(len(pool), 1000), np.random.default_rng([0, 1])
    )
    whole, prompts = odds_by_draw(study, draws)
    ids = np.concatenate([example.input_ids for example in study.examples])
    np.savez_compressed(
        file,
        ids=ids.astype(np.min_scalar_type(ids.max())),
        lengths=np.array([len(example.input_ids) for example in study.examples], dtype=np.int32),
        prompt_lengths=np.array([example.prompt_length for example in study.examples], dtype=np.int32),
        prompt_chars=np.array([len(row.instruction) for row in study.rows], dtype=np.int32),
        output_chars=np.array([len(row.output) for row in study.rows], dtype=np.int32),
        source=study.source,
        role=study.role,
        row_ids=np.array([row.row_id for row in study.rows]),
        vectors=study.vectors.astype(np.float16),
        labels=labels,
        centres=centres,
        form=well_formed(rows),
        odds=whole,
        prompt_odds=prompts,
        targets=np.array([[study.target(name, draw) for name in SOURCES] for draw in range(draws)]),
    )


def main() -> None:
    """Write the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--budget", type=int, default=150_000)
    parser.add_argument("--model", help="a folder with another base model's tokenizer")
    args = parser.parse_args()
    args.plan.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(args.model or MODEL)
    study = load_study(args.data, tokenizer)
    write_rows(args.plan / "rows.npz", study, args.draws if args.model else max(args.draws, FRESH.stop))
    record = {
        "sources": SOURCES,
        "near_duplicate": NEAR_DUPLICATE,
        "budget": args.budget,
        "end_token": tokenizer.eos_token_id,
        "prompts": {prompt.prompt_id: encode_prompt(tokenizer, RAW, prompt.prompt) for prompt in load_raw_prompts()},
        "humaneval": encoded_tasks("humaneval", tokenizer),
        "mbpp": encoded_tasks(args.data / MBPP, tokenizer),
        "cells": [],
    }
    (args.plan / "cells.json").write_text(json.dumps(record), encoding="utf-8")
    rows = Rows(args.plan)
    tokens = np.bincount(rows.strata(), rows.data["lengths"][rows.pool])
    record["cells"] = list(
        other_model_cells(args.draws, args.budget)
        if args.model
        else all_cells(args.draws, args.budget, tokens / tokens.sum(), rows.feature_names())
    )
    (args.plan / "cells.json").write_text(json.dumps(record), encoding="utf-8")
    print(json.dumps({"rows": count_roles(study), "cells": len(record["cells"])}))


def encoded_tasks(path: str | Path, tokenizer: Any) -> dict[str, list[int]]:
    """Return the prompt ids of executed tasks, those of which the prompt is not long."""
    encoded = {name: encode_prompt(tokenizer, RAW, task.prompt) for name, task in read_tasks(path).items()}
    return {name: ids for name, ids in encoded.items() if len(ids) <= LONGEST_TASK}


def count_roles(study: Study, roles: Sequence[str] = ("pool", "V", "H")) -> dict[str, dict[str, int]]:
    """Return how many rows of each source have each role."""
    return {r: {s: int(((study.role == r) & (study.source == s)).sum()) for s in SOURCES} for r in roles}


if __name__ == "__main__":
    main()
