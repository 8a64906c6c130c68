"""Time over workers of the steps of curation that are mapped over blocks, both engines, on one machine of many cores.

    python benchmarks/scale_workers.py --data ../shared/data --rows 262144 --workers 16,8,4,2,1

A pool is made (benchmarks/recombined_pool.py) and put at rest; then, for every engine and number of workers: token
counts, exact keys, MinHash bands, and, on made unit vectors of 256 columns, k-means by Lloyd's steps and the distance
to 200 held-out rows. `same` says whether every run gave the bytes of the first. `efficiency` is the time of the fewest
workers, times their number, over workers x time. Runs that would pass --limit-seconds are left out and named.
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
import pyarrow.parquet

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.recombined_pool import write_recombined_pool
from curate.cleaning.exact_duplicates import pool_keys
from curate.cleaning.near_duplicates import BandStep
from curate.engines.local import LocalEngine
from curate.engines.ray_cluster import RayEngine
from curate.engines.types import Engine, cut
from curate.pool.rows import build_row
from curate.pool.table import PoolTable
from curate.pool.writer import PoolWriter
from curate.tokens.pool_counts import CountStep
from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import load_tokenizer
from curate.vectors.clustering import build_clusters
from curate.vectors.neighbours import nearest_everywhere

WIDTH = 256
CLUSTERS = 62


def put_at_rest(folder: Path) -> PoolTable:
    """The table of the pool below `folder`."""
    writer = PoolWriter()
    for path in sorted(folder.glob("*.parquet")):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1024):
            for row in batch.to_pylist():
                writer.append(build_row(len(writer), row["instruction"], row["output"], path.name))
    return writer.finish()


def made_vectors(path: Path, n: int) -> Any:
    """Unit vectors about 500 directions, mapped from their file."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((500, WIDTH), dtype=np.float32)
    matrix = np.lib.format.open_memmap(str(path), "w+", np.float32, (n, WIDTH))
    for start in range(0, n, 65_536):
        size = min(65_536, n - start)
        block = directions[rng.integers(500, size=size)] + rng.standard_normal((size, WIDTH), dtype=np.float32)
        matrix[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    matrix.flush()
    return np.load(path, mmap_mode="r")


def measure(engine: Engine, table: PoolTable, matrix: Any, tokenizer: Any) -> dict[str, Any]:
    """Seconds of every step, and a digest of what they gave."""
    places, digest, seconds = np.arange(len(table)), hashlib.sha256(), dict[str, float]()
    blocks = cut(places, engine.block_cells)
    list(engine.map(CountStep(table, tokenizer, RAW), blocks[: 2 * (os.cpu_count() or 1)]))  # workers start and load

    def timed(name: str, arrays: Any) -> None:
        start = time.perf_counter()
        for array in arrays():
            digest.update(np.ascontiguousarray(array).tobytes())
        seconds[name] = round(time.perf_counter() - start, 2)

    timed("count tokens", lambda: engine.map(CountStep(table, tokenizer, RAW), blocks))
    timed("exact keys", lambda: [pool_keys(engine, table, places)])
    timed("minhash bands", lambda: engine.map(BandStep(table), blocks))
    timed("k-means", lambda: build_clusters(matrix, CLUSTERS, np.random.default_rng(0), engine))
    timed("distance to holdout", lambda: nearest_everywhere(engine, matrix, np.asarray(matrix[:200])))
    return {"seconds": seconds, "total": round(sum(seconds.values()), 2), "digest": digest.hexdigest()[:16]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of real rows")
    parser.add_argument("--tokenizer", help="default: llama2-tokenizer below --data")
    parser.add_argument("--rows", type=int, default=262_144)
    parser.add_argument("--workers", default="16,8,4,2,1")
    parser.add_argument("--pools", type=Path, help="where the pool is kept; default: made for the run")
    parser.add_argument("--engines", default="ray,local")
    parser.add_argument("--limit-seconds", type=float, default=420)
    args = parser.parse_args()
    began, runs, left_out = time.perf_counter(), list[dict[str, Any]](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROWPICK_HOME"] = folder
        tokenizer = load_tokenizer(args.tokenizer or str(args.data / "llama2-tokenizer"))
        start = time.perf_counter()
        pool = write_recombined_pool((args.pools or Path(folder)) / f"{args.rows}", args.rows, args.data)
        made = time.perf_counter()
        table = put_at_rest(pool)
        rest = {"make pool": round(made - start, 1), "put at rest": round(time.perf_counter() - made, 1)}
        matrix = made_vectors(Path(folder) / "vectors.npy", args.rows)
        for name in args.engines.split(","):
            last = 0.0
            for workers in map(int, args.workers.split(",")):
                if time.perf_counter() - began + 2.2 * last > args.limit_seconds:
                    left_out.append(f"{name} {workers}")
                    continue
                start = time.perf_counter()
                engine = RayEngine(None, 1, workers) if name == "ray" else LocalEngine(workers, 1, 0)
                run = measure(engine, table, matrix, tokenizer)
                engine.close()
                last = time.perf_counter() - start
                runs.append({"engine": name, "workers": workers, **run, "with start": round(last, 1)})
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    for run in runs:
        of_engine = [each for each in runs if each["engine"] == run["engine"]]
        least = min(of_engine, key=lambda each: int(each["workers"]))
        run["efficiency"] = round(least["total"] * least["workers"] / (run["total"] * run["workers"]), 2)
    same = len({run["digest"] for run in runs}) == 1
    print(
        json.dumps(
            {"rows": args.rows, "cpus": os.cpu_count(), **rest, "same": same, "left_out": left_out, "runs": runs}
        )
    )


if __name__ == "__main__":
    main()
