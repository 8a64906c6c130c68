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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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
SOURCES = ("codegen", "codealpaca", "stdlib")
HELD_OUT, STEERING, TARGET_ROWS = 150, 800, 60  # H is that many a source, V that many in all
MAX_TOKENS, NEAR_DUPLICATE = 512, 0.95
RANDOM_BUDGETS = (37_500, 75_000, 150_000, 300_000, 600_000, 1_100_000)
BANK, BANK_FROM = 22, 100  # further uniform draws, from which best-of-draws takes the best by its loss on V


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


# Tried without a target; the best on V is then drawn afresh. V and stop: influence there, by rank.
TRIED: dict[str, dict[str, Any]] = {
    "influence 0.5": {"weights": {"V": 0.5}},
    "influence 1": {"weights": {"V": 1.0}},
    "influence 1.5": {"weights": {"V": 1.5}},
    "influence 1 in strata": {"weights": {"V": 1.0, "in_strata": True}},
    "mixture": {"weights": {}, "law": "V"},
    "mixture for the mean over sources": {"weights": {}, "law": "mean over sources"},
    "mixture and influence 1": {"weights": {"V": 1.0, "in_strata": True}, "law": "V"},
    "influence as H 0.5": {"weights": {"as H": 0.5}},
    "influence as H 1": {"weights": {"as H": 1.0}},
    "influence as H 1 in strata": {"weights": {"as H": 1.0, "in_strata": True}},
    "influence against": {"weights": {"V": -0.5}},
    "stopping 1": {"weights": {"stop": 1.0}},
    "influence 1, stopping 0.5": {"weights": {"V": 1.0, "stop": 0.5}},
    "brief 1": {"weights": {"brief": 1.0}},
    "influence 1, brief 1": {"weights": {"V": 1.0, "brief": 1.0}},
    "influence 1, short prompts 1": {"weights": {"V": 1.0, "prompt": 1.0, "form": 4.0}},
    "influence 1.5, short prompts 2": {"weights": {"V": 1.5, "prompt": 2.0, "form": 4.0}},
    "influence 1, short rows": {"weights": {"V": 1.0, "tokens": 0.5}},
    "no repeats": {"weights": {"repeats": 5.0}},
    "influence 1, stopping 1, short prompts 1": {"weights": {"V": 1.0, "stop": 1.0, "prompt": 1.0, "form": 4.0}},
}
GIVEN_UP, FEW_DRAWS = (  # worse than random by more than their draws' luck in four draws of an earlier study
    "influence 1.5", "influence 1, brief 1", "influence 1.5, short prompts 2", "influence 1, short rows",
    "mixture and influence 1", "influence against",
), 4  # fmt: skip
OLD: dict[str, dict[str, Any]] = {
    "well-formed 0.5": {"strategy": "well-formed", "options": {"sharpness": 8.0, "power": 0.5}},
    "well-formed 1": {"strategy": "well-formed", "options": {"sharpness": 8.0, "power": 1.0}},
    "short-rows": {"strategy": "short-rows", "options": {"power": 0.5}},
    "kmeans": {"strategy": "kmeans"},
    "shortest": {"strategy": "shortest"},
    "equal sources": {"strategy": "random", "equal_sources": True},
}
# A second round, after the first had shown that influence on all of V moves tokens from one source to another, and so
# does stopping: each row by its influence on V's rows of its own source, ranked within its stratum.
SECOND: dict[str, dict[str, Any]] = {
    "own influence 0.5": {"weights": {"own": 0.5, "in_strata": True}},
    "own influence 1": {"weights": {"own": 1.0, "in_strata": True}},
    "stopping 1 in strata": {"weights": {"stop": 1.0, "in_strata": True}},
    "own influence 1, stopping 1": {"weights": {"own": 1.0, "stop": 1.0, "in_strata": True}},
    "own influence 0.5, stopping 2": {"weights": {"own": 0.5, "stop": 2.0, "in_strata": True}},
    "own influence 0.5, no repeats": {"weights": {"own": 0.5, "in_strata": True, "repeats": 5.0}},
    "short-part 0.2": {"strategy": "short-part", "options": {"part": 0.2}},
    "short-part 0.4": {"strategy": "short-part", "options": {"part": 0.4}},
}
# Weights fitted on short runs whose weights were drawn at random, by how far from random they may go and what for:
# the least loss, and the most answers that end at no more loss than random's. See which_rows_weights.py.
FITTED: dict[str, dict[str, Any]] = {
    f"fitted for {goal}, {reach}": {"weights": {}, "fitted_for": f"{goal}, {reach}"}
    for goal in ("loss", "form", "both")
    for reach in ("near", "far")
}
BEST, CLEANEST = "best on V", "cleanest"
FRESH = range(10, 20)  # draws that nothing was chosen on
PROXIES, PROXY_BUDGET = 96, 50_000
WEIGHTED_PROXIES, LUCKS, SPREAD = 216, 8, 0.3
MBPP, LONGEST_TASK = "mbpp-601-974.jsonl", 320


def for_target(draw: int, budget: int, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the cells of selectors with each source in turn as the target."""
    for source in SOURCES:
        towards = {"direction": f"{source} {draw}"}
        how: dict[str, dict[str, Any]] = {
            "only that source": {"strategy": "random", "only": True},
            "target-words": {"strategy": "target-words", "words": "both"},
            "influence-classifier": {"strategy": "influence-classifier", "words": "both", **towards},
            "target-words, prompts alone": {"strategy": "target-words", "words": "prompts"},
            "rds": {"strategy": "rds"},
            "target-classifier": {"strategy": "target-classifier"},
            "target-importance": {"strategy": "target-importance", "options": {"sharpness": 1.0}, "words": "both"},
            "influence on the target": {"strategy": "influence", "options": {"sharpness": 0.0}, **towards},
        }
        for name in names:
            yield {"cell": name, "draw": draw, "budget": budget, "target": source, **how[name]}


TARGET_SELECTORS = (
    "only that source", "target-words", "influence-classifier", "target-words, prompts alone",
    "rds", "target-classifier", "target-importance", "influence on the target",
)  # fmt: skip
CONFIRMED = TARGET_SELECTORS[:4]
AT_OTHER_SIZES = {50_000: ("kmeans", "shortest", "short-rows", "well-formed 1", "no repeats"), 450_000: ("kmeans",)}
LARGE, LARGE_DRAWS = 400_000, 4  # budgets above it are expensive
ANSWERING, TASK_DRAWS = ("kmeans", "shortest"), 5


def proxies(n_strata: int, shares: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    """Yield the proxy runs of the mixing law: short, with shares of the strata that vary widely around the pool's."""
    rng = np.random.default_rng(18)
    for draw in range(PROXIES):
        spread = np.exp(rng.uniform(np.log(3), np.log(60)))
        own = 0.1 * shares + 0.9 * rng.dirichlet(spread * shares)
        weights = {"shares": [round(float(s), 5) for s in own]}
        yield {"cell": "proxy", "draw": 1000 + draw, "budget": PROXY_BUDGET, "weights": weights, "proxy": True}


def weighted_proxies(features: Sequence[str], budget: int) -> Iterator[dict[str, Any]]:
    """Yield runs whose rows are drawn by random weights of features: the weights of FITTED are fitted on these.

    Few draws of luck are shared by all of them, so that what two runs differ in is mostly their weights.
    """
    rng = np.random.default_rng(27)
    for number in range(WEIGHTED_PROXIES):
        drawn = (SPREAD * rng.standard_normal(len(features))).round(4).tolist()
        by = dict(zip(features, drawn, strict=True))
        yield {
            "cell": "weighted proxy", "draw": 2000 + number, "luck": 2000 + number % LUCKS, "budget": budget,
            "weights": {"features": by}, "proxy": True, "generate": ["prompts"],
        }  # fmt: skip


def all_cells(
    draws: int, budget: int, shares: NDArray[np.float64], features: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield every cell in the order in which they are to be made: wherever it is cut, what is there is balanced."""

    def plain(name: str, draw: int, how: dict[str, Any], size: int = budget, generate: Any = None) -> dict[str, Any]:
        kinds = generate or (["prompts"] if size == budget and draw < BANK_FROM else [])
        return {"cell": name, "draw": draw, "budget": size, "generate": kinds, **how}

    random = {"strategy": "random"}
    everything = [name for name in (*TRIED, *SECOND, *FITTED, *OLD) if name not in GIVEN_UP]
    chosen = {"by": "steered", "among": everything, "draws": list(range(draws))}
    best, cleanest = {"choose": chosen}, {"choose": chosen | {"by": "ended"}}
    tasks = ["prompts", "humaneval", "mbpp"]
    for draw in range(draws):
        yield plain("random", draw, random)
    yield from proxies(len(shares), shares)
    yield from weighted_proxies(features, budget)
    for draw in range(draws):
        for name, how in (TRIED | SECOND | OLD | FITTED).items():
            if draw < FEW_DRAWS or name not in GIVEN_UP:
                yield plain(name, draw, how)
    for draw in FRESH:
        yield plain("random", draw, random, generate=tasks)
        yield plain(BEST, draw, best, generate=tasks)
        yield plain(CLEANEST, draw, cleanest, generate=tasks)
        if draw < FRESH.start + TASK_DRAWS:
            yield from (plain(name, draw, OLD[name], generate=tasks) for name in ANSWERING)
    for draw in FRESH:
        yield from for_target(draw, budget, CONFIRMED)
    for draw in range(draws):
        yield from for_target(draw, budget, TARGET_SELECTORS)
    for draw in range(BANK_FROM, BANK_FROM + BANK):
        yield plain("random", draw, random)
    for draw in range(draws):
        notebook = {"draw": draw, "budget": None, "strategy": "shortest", "generate": ["prompts"]}
        yield {"cell": "notebook", "loss_on_prompt": True, "cut": 100, **notebook}
        yield {"cell": "notebook, its rows whole", "loss_on_prompt": True, **notebook}
        yield {"cell": "notebook, its rows whole, loss on the outputs", **notebook}
    for draw in range(draws):
        for size in RANDOM_BUDGETS:
            if size != budget and (size < LARGE or draw < LARGE_DRAWS):
                yield plain("random", draw, random, size)
    for draw in range(draws):
        for size, names in AT_OTHER_SIZES.items():
            if size > LARGE and draw >= LARGE_DRAWS:
                continue
            yield plain("random", draw, random, size)
            yield plain(BEST, draw, best, size)
            yield from (plain(name, draw, (TRIED | OLD)[name], size) for name in names)
            yield from for_target(draw, size, ("only that source", "target-words", "influence-classifier"))


def other_model_cells(draws: int, budget: int) -> Iterator[dict[str, Any]]:
    """Yield the cells of another base model: by draw, random, selectors of embeddings and lengths, and what a target
    gives, beside the most it could give."""
    for draw in range(draws):
        yield {"cell": "random", "draw": draw, "budget": budget, "strategy": "random"}
        for name in ("shortest", "kmeans", "well-formed 1"):
            yield {"cell": name, "draw": draw, "budget": budget, **OLD[name]}
        yield from for_target(draw, budget, ("target-words", "only that source"))


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
