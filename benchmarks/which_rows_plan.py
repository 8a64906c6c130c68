"""Everything of the study "which rows?" that comes before picking: pool, held-out rows, targets, scores, the cells.

    python benchmarks/which_rows_plan.py PLAN --data DIR [--draws 10] [--budget 150000]

DIR holds codegen-4.5k.jsonl and codealpaca-2k.jsonl; the third source is the embedded stdlib. PLAN becomes a folder
with `rows.npz` (the rows as token ids, their static vectors, roles and scores) and `cells.json` (one cell a run, in the
order in which they are to be made: draw by draw, so that a study that is cut off is balanced). `which_rows.py` picks
the rows of each cell and trains.

H, the held-out rows, is reserved by content, and nothing reads it but what keeps its near-duplicates out of the pool.
V are pool rows kept apart for steering: targets are drawn from them, and influence is taken on them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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

MODEL = "smollm2-135m"
SOURCES = ("codegen", "codealpaca", "stdlib")
HELD_OUT, STEERING, TARGET_ROWS = 150, 800, 60  # H is that many a source, V that many in all
MAX_TOKENS, NEAR_DUPLICATE = 512, 0.95
RANDOM_BUDGETS = (37_500, 75_000, 150_000, 300_000, 600_000, 1_100_000)
GENERATING_DRAWS = 4  # of every selector without a target, for the share of well-formed answers
BANK = 22  # further uniform draws, from which best-of-draws takes the best by its loss on V


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


def cells_of_draw(draw: int, budget: int) -> Iterator[dict[str, Any]]:
    """Yield the cells of one draw: what promises most in distribution, each source as the target, then the rest."""

    def cell(name: str, strategy: str, **more: Any) -> dict[str, Any]:
        generate = draw < GENERATING_DRAWS and "target" not in more
        return {"cell": name, "draw": draw, "budget": budget, "strategy": strategy, "generate": generate, **more}

    yield cell("random", "random")
    yield cell("influence 0.5", "influence", options={"sharpness": 0.5}, direction="V")
    yield cell("well-formed 0.5", "well-formed", options={"sharpness": 8.0, "power": 0.5})
    for source in SOURCES:
        t, at = {"target": source}, {"target": source, "direction": f"{source} {draw}"}
        yield cell("only that source", "random", only=True, **t)
        yield cell("target-words", "target-words", words="both", **t)
        yield cell("influence-classifier", "influence-classifier", words="both", **at)
        yield cell("target-words, prompts alone", "target-words", words="prompts", **t)
        yield cell("rds", "rds", **t)
        yield cell("target-classifier", "target-classifier", **t)
        yield cell("target-importance", "target-importance", options={"sharpness": 1.0}, words="both", **t)
        yield cell("influence on the target", "influence", options={"sharpness": 0.0}, **at)
    yield cell("well-formed 1", "well-formed", options={"sharpness": 8.0, "power": 1.0})
    yield cell("short-rows", "short-rows", options={"power": 0.5})
    yield cell("kmeans", "kmeans")
    yield cell("shortest", "shortest")
    yield cell("influence 1", "influence", options={"sharpness": 1.0}, direction="V")
    yield cell("influence in strata", "influence", options={"sharpness": 1.0}, direction="V", strata=True)
    yield cell("influence and well-formed", "influence", options={"sharpness": 0.7}, direction="V", tilt=True)
    yield cell("equal sources", "random", equal_sources=True)


def all_cells(draws: int, budget: int) -> Iterator[dict[str, Any]]:
    """Yield every cell in the order in which they are to be made."""
    for draw in range(draws):
        for size in sorted(RANDOM_BUDGETS, reverse=True) if draw < 2 else ():
            if size != budget:
                yield {"cell": "random", "draw": draw, "budget": size, "strategy": "random"}
        yield from cells_of_draw(draw, budget)
        if draw < 2:
            notebook = {"draw": draw, "budget": None, "strategy": "shortest", "generate": draw == 0}
            yield {"cell": "notebook", "loss_on_prompt": True, "cut": 100, **notebook}
            yield {"cell": "notebook, its rows whole", "loss_on_prompt": True, **notebook}
            yield {"cell": "notebook, its rows whole, loss on the outputs", **notebook}
    for draw in range(3):
        for source in SOURCES:
            for size in (50_000, 450_000) if source != "codealpaca" else (50_000,):
                more = {"strategy": "target-words", "words": "both", "target": source}
                yield {"cell": "target-words", "draw": draw, "budget": size, **more}
    for draw in range(100, 100 + BANK):
        yield {"cell": "random", "draw": draw, "budget": budget, "strategy": "random"}


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
    np.savez_compressed(
        file,
        ids=np.concatenate([example.input_ids for example in study.examples]).astype(np.uint16),
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
    args = parser.parse_args()
    args.plan.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(MODEL)
    study = load_study(args.data, tokenizer)
    cells = list(all_cells(args.draws, args.budget))
    record = {
        "sources": SOURCES,
        "near_duplicate": NEAR_DUPLICATE,
        "budget": args.budget,
        "end_token": tokenizer.eos_token_id,
        "prompts": {prompt.prompt_id: encode_prompt(tokenizer, RAW, prompt.prompt) for prompt in load_raw_prompts()},
        "cells": cells,
    }
    (args.plan / "cells.json").write_text(json.dumps(record), encoding="utf-8")
    write_rows(args.plan / "rows.npz", study, args.draws)
    print(json.dumps({"rows": count_roles(study), "cells": len(cells)}))


def count_roles(study: Study, roles: Sequence[str] = ("pool", "V", "H")) -> dict[str, dict[str, int]]:
    """Return how many rows of each source have each role."""
    return {r: {s: int(((study.role == r) & (study.source == s)).sum()) for s in SOURCES} for r in roles}


if __name__ == "__main__":
    main()
