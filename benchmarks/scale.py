"""Seconds a step and peak memory of `curate select` from 80,000 to millions of rows, on both engines.

    python benchmarks/scale.py --data ../shared/data --only kmeans,facility-location,checks     # 80,000 rows
    python benchmarks/scale.py --data ../shared/data --only million,five-million
    python benchmarks/scale.py --data ../shared/data --only million,million-on-ray --ray-address HOST:PORT
    python benchmarks/scale.py --data ../shared/data --only million,million-on-ray,million-node-killed --nodes 0,1

Cores are limited from outside: `taskset -c 0,1 python benchmarks/scale.py ...`. With --nodes a cluster is started for
every run on Ray, a node of one core for each core named and pinned to it; `million-node-killed` loses the last of them
after --kill-after seconds. benchmarks/scale_all.py runs everything of docs/scale.md.

Rows are made with the lengths and lines of real ones (benchmarks/recombined_pool.py), as Parquet shards of 50,000. Each
run is the real command in processes of its own, static encoder (distilled before), k = 1000, nothing cached. `peak_gib`
is the largest sum, over the command's processes, of their memory with what they share counted once (PSS), read once a
second; `own_gib` is the part of it that is no file: pages of mapped files are given back when others need the memory.
`worker_gib` is the most that one of the processes below the command's own had, files left out. With --nodes all
processes of the cluster count too, and CPU seconds are those of the command alone.
`same` tells whether runs of the same rows and settings on two engines gave files of the same digests. --code names the
checkout of another version, to compare with. On a busy machine read ratios and CPU seconds, not wall seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pinned_cluster import PinnedCluster, tree
from benchmarks.recombined_pool import write_recombined_pool

ROOT = Path(__file__).resolve().parents[1]
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
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
    "million-node-killed": (1_000_000, ["--clean", f"{EXACT},near-duplicates", "--engine", "ray"]),
}


def run(name: str, args: argparse.Namespace, home: Path) -> dict[str, Any]:
    """One selection, from Parquet files to the written artifact."""
    n_rows, options = RUNS[name]
    n_rows = args.rows or n_rows
    pool = write_recombined_pool(args.pools / f"{n_rows}", n_rows, args.data)
    clear_caches(home)
    cluster, address, timer = None, args.ray_address, None
    if "ray" in options and args.nodes:
        cluster = PinnedCluster([int(core) for core in args.nodes.split(",")], args.port, args.ray_folder)
        address = cluster.address
    if "ray" in options and address:
        options = [*options, "--ray-address", address]
    if "--strategy" not in options:
        options = [*options, "--strategy", "kmeans"]
    out = home / "selections" / f"{name}-{time.time_ns()}"
    command = [
        sys.executable, "-m", "curate.cli", "select", "--dataset", str(pool), "--model", args.model, "--encoder",
        "static", "--k", "1000", *options, "--out", str(out), "--json",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "ROWPICK_HOME": str(home),
        "PYTHONPATH": _paths(args.code),
        "RAY_AUTH_MODE": "disabled",
    }
    before, started, load = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(command, cwd=args.code, env=environment, stdout=stdout, stderr=stderr, text=True)
        if cluster and name.endswith("killed"):
            timer = cluster.kill_last_after(args.kill_after)
        memory = watch(process, [node.pid for node in cluster.nodes] if cluster else [])
        wall = time.perf_counter() - started
        if cluster:
            cluster.close()
        if timer:
            timer.cancel()
        stdout.seek(0), stderr.seek(0)
        answer = stdout.read()
        if process.returncode or not answer:
            return {"error": stderr.read().strip()[-1500:], "exit_code": process.returncode, "wall_seconds": wall}
        manifest = json.loads(answer)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "rows": n_rows,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        **{f"{name}_gib": round(kib / 2**20, 2) for name, kib in memory.items()},
        "killed_after": args.kill_after if timer else None,
        "memory_is": "PSS" if Path("/proc/self/smaps_rollup").exists() else "RSS",
        "load_before": round(load, 1),
        "seconds": {step: round(seconds, 1) for step, seconds in manifest["seconds"].items()},
        "counts": manifest["counts"],
        "files": {each["file"]: each["sha256"][:12] for each in manifest["outputs"] if each["rows"] is not None},
    }


def distil(home: Path, code: Path) -> None:
    """Have the static encoder in the cache before anything is timed."""
    command = "from curate.vectors.encoders import load_static_encoder; load_static_encoder()"
    environment = {**os.environ, "ROWPICK_HOME": str(home), "PYTHONPATH": _paths(code)}
    subprocess.run([sys.executable, "-c", command], env=environment, check=True, capture_output=True)


def clear_caches(home: Path) -> None:
    """Remove what earlier runs counted, embedded and put at rest; the encoders stay."""
    for folder in ("embeddings", "token_counts", "pools"):
        shutil.rmtree(home / "cache" / folder, ignore_errors=True)


def watch(process: subprocess.Popen[str], others: Sequence[int] = ()) -> dict[str, int]:
    """The most that a process and all it started had at once, with the trees of `others`: KiB of PSS (`peak`), of PSS
    that is no file (`own`), and of the latter in one process below the first (`worker`)."""
    most = {"peak": 0, "own": 0, "worker": 0}
    while process.poll() is None:
        peak = own = worker = 0
        for pid in tree(process.pid, *others):
            pss, anonymous = _memory(pid)
            peak, own = peak + pss, own + anonymous
            worker = max(worker, anonymous if pid != process.pid else 0)
        most = {"peak": max(most["peak"], peak), "own": max(most["own"], own), "worker": max(most["worker"], worker)}
        time.sleep(1)
    return most


def _memory(pid: int) -> tuple[int, int]:
    """PSS of a process and the part that is no file, in KiB; resident pages, shared ones too, where there is no PSS."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
        return sizes["Pss:"], sizes.get("Pss_Anon:", 0)
    except (OSError, KeyError):
        pass
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    except (OSError, ValueError):
        return 0, 0
    return resident * _PAGE_KIB, (resident - shared) * _PAGE_KIB


def _paths(code: Path) -> str:
    return os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files of real rows")
    parser.add_argument("--only", default=",".join(RUNS), help="runs with commas between")
    parser.add_argument("--rows", type=int, help="rows of every run, instead of its own number")
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer counts")
    parser.add_argument("--code", type=Path, default=ROOT, help="checkout whose `curate` is run")
    parser.add_argument("--ray-address", help="a cluster; default: Ray is started for the run")
    parser.add_argument("--nodes", help="cores of a cluster that is started for runs on Ray: 0,1")
    parser.add_argument("--port", type=int, default=21_000, help="of that cluster")
    parser.add_argument("--ray-folder", type=Path, default=Path(tempfile.gettempdir()) / "rowpick-ray")
    parser.add_argument(
        "--kill-after", type=float, default=120, help="seconds until `million-node-killed` loses a node"
    )
    parser.add_argument("--pools", type=Path, default=Path(tempfile.gettempdir()) / "rowpick-pools", help="kept")
    parser.add_argument("--home", type=Path, help="folder for caches and selections; default: temporary")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = (args.home or Path(folder)).absolute()
        distil(home, args.code)
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
