"""Seconds a step and peak memory of `curate select` from 80,000 to millions of rows, on both engines.

    python benchmarks/scale.py --data ../shared/data --only kmeans,facility-location,checks     # 80,000 rows
    python benchmarks/scale.py --data ../shared/data --only million,five-million
    python benchmarks/scale.py --data ../shared/data --only million,million-on-ray --ray-address HOST:PORT

Rows are made with the lengths and lines of real ones (benchmarks/recombined_pool.py), as Parquet shards of 50,000. Each
run is the real command in processes of its own, static encoder (distilled before), k = 1000, nothing cached. `peak_gib`
is the largest sum, over the command's processes, of their memory with what they share counted once (PSS), read once a
second; `own_gib` is the part of it that is no file: pages of mapped files are given back when others need the memory.
`same` tells whether runs of the same rows and settings on two engines gave files of the same digests. --code names the
checkout of another version, to compare with. On a busy machine read ratios and CPU seconds, not wall seconds.
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

from benchmarks.recombined_pool import write_recombined_pool

ROOT = Path(__file__).resolve().parents[1]
EXACT = "empty,duplicates"
RUNS: dict[str, tuple[int, list[str]]] = {
    # name -> (rows, options)
    "kmeans": (80_000, ["--clean", EXACT]),
    "facility-location": (80_000, ["--clean", EXACT, "--strategy", "facility-location"]),
    "checks": (80_000, ["--clean", "all"]),
    "million": (1_000_000, ["--clean", f"{EXACT},near-duplicates"]),
    "million-without-minhash": (1_000_000, ["--clean", EXACT]),
    "five-million": (5_000_000, ["--clean", EXACT]),
    "million-on-ray": (1_000_000, ["--clean", f"{EXACT},near-duplicates", "--engine", "ray"]),
}


def run(name: str, args: argparse.Namespace, home: Path) -> dict[str, Any]:
    """One selection, from Parquet files to the written artifact."""
    n_rows, options = RUNS[name]
    n_rows = args.rows or n_rows
    pool = write_recombined_pool(args.pools / f"{n_rows}", n_rows, args.data)
    for folder in ("embeddings", "token_counts", "pools"):
        for file in sorted((home / "cache" / folder).rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
    if "ray" in options and args.ray_address:
        options = [*options, "--ray-address", args.ray_address]
    out = home / "selections" / f"{name}-{time.time_ns()}"
    command = [
        sys.executable, "-m", "curate.cli", "select", "--dataset", str(pool), "--model", args.model, "--encoder",
        "static", "--k", "1000", *options, "--out", str(out), "--json",
    ]  # fmt: skip
    environment = {**os.environ, "ROWPICK_HOME": str(home), "PYTHONPATH": str(args.code)}
    before, started, load = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(command, cwd=args.code, env=environment, stdout=stdout, stderr=stderr, text=True)
        peak, own = _watch(process)
        wall = time.perf_counter() - started
        stdout.seek(0), stderr.seek(0)
        if process.returncode:
            return {"error": stderr.read().strip().splitlines()[-1], "exit_code": process.returncode}
        manifest = json.loads(stdout.read())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "rows": n_rows,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_gib": round(peak / 2**20, 2),
        "own_gib": round(own / 2**20, 2),
        "load_before": round(load, 1),
        "seconds": {step: round(seconds, 1) for step, seconds in manifest["seconds"].items()},
        "counts": manifest["counts"],
        "files": {each["file"]: each["sha256"][:12] for each in manifest["outputs"] if each["rows"] is not None},
    }


def _watch(process: subprocess.Popen[str]) -> tuple[int, int]:
    """The largest PSS, and the largest part of it that is no file, of a process and all that it started, in KiB."""
    peak = own = 0
    while process.poll() is None:
        sums = [0, 0]
        for pid in _tree(process.pid):
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            except OSError:
                continue
            sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
            sums = [sums[0] + sizes.get("Pss:", 0), sums[1] + sizes.get("Pss_Anon:", 0)]
        peak, own = max(peak, sums[0]), max(own, sums[1])
        time.sleep(1)
    return peak, own


def _tree(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in _tree(child))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of real rows")
    parser.add_argument("--only", default=",".join(RUNS), help="runs with commas between")
    parser.add_argument("--rows", type=int, help="rows of every run, instead of its own number")
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer counts")
    parser.add_argument("--code", type=Path, default=ROOT, help="checkout whose `curate` is run")
    parser.add_argument("--ray-address", help="a cluster; default: Ray is started for the run")
    parser.add_argument("--pools", type=Path, default=Path(tempfile.gettempdir()) / "rowpick-pools", help="kept")
    parser.add_argument("--home", type=Path, help="folder for caches and selections; default: temporary")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = (args.home or Path(folder)).absolute()
        warm_up = "from curate.vectors.encoders import load_static_encoder; load_static_encoder()"
        environment = {**os.environ, "ROWPICK_HOME": str(home), "PYTHONPATH": str(args.code)}
        subprocess.run([sys.executable, "-c", warm_up], env=environment, check=True, capture_output=True)
        results: dict[str, Any] = {}
        for name in args.only.split(","):
            results[name] = run(name, args, home)
            print(json.dumps({name: results[name]}), file=sys.stderr, flush=True)
        local, ray = results.get("million"), results.get("million-on-ray")
        if local and ray and "files" in local and "files" in ray:
            results["same"] = local["files"] == ray["files"]
            results["ray_over_local"] = round(ray["wall_seconds"] / local["wall_seconds"], 2)
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
