"""The picks of strategies that need no model's scores, on one pool: digests and seconds, by one engine.

    python benchmarks/scale_strategies.py --data ../shared/data --rows 100000 --workers 1
    python benchmarks/scale_strategies.py --data ../shared/data --rows 100000 --workers 2 --engine ray

Rows are made (benchmarks/recombined_pool.py); exact and near-duplicates are removed, vectors are the static encoder's,
k = 1000; the target is 100 rows of codealpaca-2k. `arrays` is a digest of vectors, clusters and token counts, `picks`
one of every strategy's picks, reasons and notes, `files` are the digests of what `kmeans` writes. Two runs of different
engines or numbers of workers that print the same digests made the same bytes.
`learned-centroids` is left out: it trains for minutes, on the driver. Begins no strategy after --limit-seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.recombined_pool import write_recombined_pool
from benchmarks.scale import clear_caches
from curate.artifact import digest_file
from curate.config import SelectConfig
from curate.engines.local import LocalEngine
from curate.engines.ray_cluster import RayEngine
from curate.engines.types import Engine
from curate.pipeline import build_candidates, complete, load, pick, prepare
from curate.selection.choosing import choose
from curate.selection.steps import Stopwatch
from curate.selection.write import write

STRATEGIES = (
    "kmeans", "facility-location", "random", "target-words", "semdedup", "density", "kmeans-centroid", "length-matched",
    "rds", "target-classifier", "target-importance", "kcenter", "mmr", "dpp", "short-rows", "first", "shortest",
    "longest", "well-formed",
)  # fmt: skip
FILES = ("selected.jsonl", "holdout.jsonl", "decisions.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of real rows")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--model", help="whose tokenizer counts; default: llama2-tokenizer below --data")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray-address")
    parser.add_argument("--pools", type=Path, default=Path(tempfile.gettempdir()) / "rowpick-pools", help="kept")
    parser.add_argument(
        "--home", type=Path, help="folder of caches, of which only encoders are kept; default: temporary"
    )
    parser.add_argument("--limit-seconds", type=float, default=600)
    args = parser.parse_args()
    began = time.perf_counter()
    pool = write_recombined_pool(args.pools / f"{args.rows}", args.rows, args.data)
    with tempfile.TemporaryDirectory() as folder:
        home = (args.home or Path(folder)).absolute()
        clear_caches(home)
        os.environ["ROWPICK_HOME"] = str(home)
        target = Path(folder) / "target.jsonl"
        lines = (args.data / "codealpaca-2k.jsonl").read_text().splitlines()[:100]
        target.write_text("".join(f"{line}\n" for line in lines))
        config = SelectConfig(
            dataset=str(pool), model=args.model or str(args.data / "llama2-tokenizer"), encoder="static", k=args.k,
            strategy="kmeans", clean=("empty", "duplicates", "near-duplicates"), target=str(target),
        )  # fmt: skip
        engine: Engine = (
            RayEngine(args.ray_address, workers=args.workers)
            if args.engine == "ray"
            else LocalEngine(args.workers, 1, 0)
        )
        result = run(config, engine, Path(folder), began + args.limit_seconds)
        engine.close()
    print(json.dumps({"rows": args.rows, "engine": args.engine, "workers": args.workers, **result}))


def run(config: SelectConfig, engine: Engine, folder: Path, until: float) -> dict[str, Any]:
    """Seconds and digests of one engine's picks."""
    start, watch = time.perf_counter(), Stopwatch()
    prepared = prepare(load(config, watch, engine), watch)
    prepared_seconds = time.perf_counter() - start
    candidates = build_candidates(prepared)
    arrays = (candidates.embeddings, candidates.labels, candidates.centres, candidates.token_counts)
    digests, seconds = dict[str, str](), dict[str, float]()
    for name in STRATEGIES:
        if time.perf_counter() > until:
            break
        own = config.model_copy(update={"strategy": name})
        started = time.perf_counter()
        picks = choose(own, complete(prepared, own, candidates))
        seconds[name] = round(time.perf_counter() - started, 2)
        digests[name] = _digest(json.dumps([picks.indices.tolist(), picks.reasons, picks.notes]).encode())
    write(prepared, pick(prepared), folder / "kmeans", (), watch)
    return {
        "candidates": len(candidates.token_counts),
        "prepare_seconds": round(prepared_seconds, 1),
        "seconds": seconds,
        "arrays": _digest(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)),
        "picks": digests,
        "files": {name: digest_file(folder / "kmeans" / name)[:12] for name in FILES},
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


if __name__ == "__main__":
    main()
