"""Seconds per step and peak memory of `curate select` on a pool of 80,000 real rows, from file to written selection.

    python benchmarks/curate_pool.py                       # every row of the table below, about 6 minutes on 2 cores
    python benchmarks/curate_pool.py --pool rows.jsonl --only duplicates-kmeans
    python benchmarks/curate_pool.py --tokenizer DIR --decontaminate HumanEval.jsonl --decontaminate mbpp.jsonl

The pool is mined by benchmarks/mined_pool.py (how is printed) and kept in a temporary folder. Each run is the real
command in a process of its own, with the static encoder (distilled before) and k = 1000: cleaning limited to exact
duplicates, cold and with cached vectors, and full cleaning, with decontamination where --decontaminate is given.
`seconds` are the manifest's; `wall_seconds` and `cpu_seconds` include starting Python; `peak_gib` is the largest
sum over the process and its workers, what they share counted once (PSS). The 1-minute load before each run is
printed: on a busy machine wall seconds say little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.mined_pool import write_pool
from benchmarks.scale import clear_caches, distil, watch

ROOT = Path(__file__).resolve().parents[1]
EXACT = ["--clean", "empty,duplicates"]
RUNS: dict[str, tuple[bool, list[str]]] = {
    # name -> (start with empty caches, options)
    "duplicates-kmeans": (True, [*EXACT, "--strategy", "kmeans"]),
    "duplicates-facility-location": (True, [*EXACT, "--strategy", "facility-location"]),
    "cached-kmeans": (False, [*EXACT, "--strategy", "kmeans", "--seed", "1"]),
    "cached-facility-location": (False, [*EXACT, "--strategy", "facility-location", "--seed", "1"]),
    "full-kmeans": (True, ["--clean", "all", "--strategy", "kmeans"]),
}


def run(name: str, pool: Path, home: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One selection in a process of its own."""
    cold, options = RUNS[name]
    if cold:
        clear_caches(home)
    if "all" in options:
        options = [*options, *(word for path in args.decontaminate for word in ("--decontaminate", path))]
    command = [
        sys.executable, "-m", "curate.cli", "select", "--dataset", str(pool), "--model", "smollm2-135m",
        *(["--tokenizer", args.tokenizer] if args.tokenizer else []), "--encoder", "static", "--k", "1000", *options,
        "--out", str(home / "selections" / f"{name}-{time.time_ns()}"), "--json",
    ]  # fmt: skip
    load = os.getloadavg()[0]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "ROWPICK_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    memory = watch(process)
    out, err = process.communicate()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        return {"error": err.strip().splitlines()[-1], "exit_code": process.returncode}
    manifest = json.loads(out)
    return {
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_gib": round(memory["peak"] / 2**20, 2),
        "load_before": round(load, 2),
        "seconds": manifest["seconds"],
        "counts": manifest["counts"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=80_000)
    parser.add_argument("--pool", type=Path, help="a JSONL file made before")
    parser.add_argument("--tokenizer", help="folder with the tokenizer to count with; default: smollm2-135m")
    parser.add_argument("--decontaminate", action="append", default=[], help="benchmark file, for the full run")
    parser.add_argument("--only", help=f"comma-separated: {', '.join(RUNS)}")
    parser.add_argument("--home", type=Path, help="folder for caches and selections; default: temporary")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = args.home or Path(folder)
        pool, result = args.pool, dict[str, Any]()
        if pool is None:
            pool = Path(folder) / "pool.jsonl"
            result["pool"] = write_pool(pool, args.rows)
        distil(home, ROOT)
        for name in args.only.split(",") if args.only else RUNS:
            result[name] = run(name, pool, home, args)
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
