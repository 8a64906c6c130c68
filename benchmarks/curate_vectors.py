"""`kmeans` and `facility-location` on vectors: a million of them, beside exact greedy, and beside other packages.

    python benchmarks/curate_vectors.py million [--rows 1000000] [--folder DIR]      # about 10 minutes on 2 cores
    python benchmarks/curate_vectors.py exact [--folder DIR] [--data DIR]            # about 5 minutes
    python benchmarks/curate_vectors.py peers --peers-python PYTHON [--data DIR]     # about a minute

`million`: vectors of 256 are made and written to DIR (default: a temporary folder), then each strategy runs in a
process of its own from the file to 1,000 picks; wall seconds and peak memory are the whole process's. The vectors:
2,000 topics, their sizes falling as 1/rank, each a direction in the span of 64 fixed ones; a row is its topic plus
noise in 24 of them and a little in all 256; every tenth row is a near copy (cosine about 0.98) of another. `exact`:
what share of exact greedy's value facility-location reaches on 20,000 of those rows and, with --data (or
$ROWPICK_DATA), on the static vectors of real rows. `peers`: SemHash's representative selection (by its defaults, and
with every row a candidate), apricot and submodlib, from an environment of their own (pip install semhash
apricot-select submodlib-py), on the static vectors of codegen-4.5k, each in a process of its own: seconds of the second
run (the first, on 300 rows, compiles), and peak memory above the process's size after imports and that first run.
Value is the mean cosine of a row to its nearest pick. Prints one JSON object a line.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
K = 1000
TARGETS = {"seconds": 600, "peak_gib": 6.0}
PEERS = ("semhash", "semhash, all rows", "apricot", "submodlib")
WARM_UP_ROWS = 300


def unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_vectors(path: Path, n_rows: int, block: int = 50_000) -> None:
    """Write (n_rows x 256) unit vectors as the docstring describes; the same for the same n_rows."""
    rng = np.random.default_rng(0)
    span = unit(rng.standard_normal((64, 256)))
    topics = unit(rng.standard_normal((2000, 64)) @ span)
    share = 1 / np.arange(1, 2001)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n_rows, 256))
    for start in range(0, n_rows, block):
        size = min(block, n_rows - start)
        topic = rng.choice(2000, size=size, p=share / share.sum())
        axes = rng.permuted(np.tile(np.arange(64), (size, 1)), axis=1)[:, :24]
        inner = np.zeros((size, 64), dtype=np.float32)
        np.put_along_axis(inner, axes, rng.standard_normal((size, 24), dtype=np.float32) * 0.12, axis=1)
        rows = topics[topic] + inner @ span + 0.02 * rng.standard_normal((size, 256), dtype=np.float32)
        copies = np.flatnonzero(rng.random(size) < 0.1)
        rows[copies] = unit(rows[rng.integers(size, size=len(copies))]) + 0.0125 * rng.standard_normal(
            (len(copies), 256), dtype=np.float32
        )
        out[start : start + size] = unit(rows)
    out.flush()


def as_candidates(vectors: Any, clustered: bool) -> Any:
    from curate.strategies.types import Candidates
    from curate.vectors.clustering import build_clusters, default_n_clusters

    n = len(vectors)
    labels, centres = np.zeros(n, dtype=np.int32), vectors[:1]
    if clustered:
        labels, centres = build_clusters(vectors, default_n_clusters(n, K), np.random.default_rng([0, 1]))
    some = np.ones(n, dtype=np.int32)
    return Candidates(vectors, labels, centres, some, some, some, np.arange(n))


def pick(candidates: Any, strategy: str, near_duplicate: float, **options: Any) -> Any:
    from curate.strategies.budget import pick_rows
    from curate.strategies.table import STRATEGIES

    bound = STRATEGIES[strategy].bind(options)
    return pick_rows(bound, candidates, min(K, len(candidates)), np.random.default_rng([0, 2]), near_duplicate)


def value_of(vectors: Any, picks: Any) -> float:
    """Mean cosine of a row to its nearest pick."""
    best = [
        (vectors[i : i + 8192] @ vectors[picks].T).max(axis=1).astype(np.float64) for i in range(0, len(vectors), 8192)
    ]
    return float(np.concatenate(best).mean())


def run_on_file(strategy: str, path: str) -> dict[str, Any]:
    """In a process of its own: from the file to the picks."""
    started = time.perf_counter()
    vectors = np.load(path)
    loaded = time.perf_counter()
    candidates = as_candidates(vectors, clustered=True)
    clustered = time.perf_counter()
    picks = pick(candidates, strategy, 0.95)
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "strategy": strategy,
        "rows": len(vectors),
        "picks": len(picks.indices),
        "seconds": round(done - started, 1),
        "seconds_by_step": {
            "load": round(loaded - started, 1),
            "cluster": round(clustered - loaded, 1),
            "pick": round(done - clustered, 1),
        },
        "peak_gib": round(peak, 2),
        "value": round(value_of(vectors, picks.indices), 4),
        "near_duplicates_of_picks": len(picks.near_duplicates),
        "notes": picks.notes,
        "target": TARGETS,
        "met": done - started <= TARGETS["seconds"] and peak <= TARGETS["peak_gib"],
    }


def exact_greedy(vectors: Any, k: int) -> tuple[Any, float]:
    """Plain greedy on every row and candidate, by lazy evaluation in batches of 64; its picks and seconds."""
    started = time.perf_counter()
    n = len(vectors)
    reached = np.zeros(n, dtype=np.float32)

    def gains_of(rows: Any) -> Any:
        return np.maximum(np.maximum(vectors[rows] @ vectors.T, 0) - reached, 0).sum(axis=1, dtype=np.float64)

    gains = np.concatenate([gains_of(np.arange(i, min(i + 256, n))) for i in range(0, n, 256)])
    seen = np.zeros(n, dtype=np.int64)
    picks: list[int] = []
    while len(picks) < k:
        best = int(np.argmax(gains))
        if seen[best] < len(picks):
            top = np.argpartition(-gains, 64)[:64]
            top = top[seen[top] < len(picks)]
            gains[top], seen[top] = gains_of(top), len(picks)
            continue
        picks.append(best)
        reached = np.maximum(reached, vectors @ vectors[best])
        gains[best] = -1
    return np.array(picks), time.perf_counter() - started


def beside_exact(name: str, vectors: Any) -> None:
    exact, exact_seconds = exact_greedy(vectors, K)
    best = value_of(vectors, exact)
    for options in ({}, {"rounds": 0}, {"evaluated": 8 * K}):
        started = time.perf_counter()
        picks = pick(as_candidates(vectors, clustered=False), "facility-location", 1.0, **options)
        seconds = time.perf_counter() - started
        value = value_of(vectors, picks.indices)
        line = {
            "vectors": name, "rows": len(vectors), "k": K, "options": options, "value": round(value, 5),
            "exact_greedy_value": round(best, 5), "share_of_exact": round(value / best, 5), "target": 0.99,
            "seconds": round(seconds, 1), "exact_greedy_seconds": round(exact_seconds, 1), "notes": picks.notes,
        }  # fmt: skip
        print(json.dumps(line), flush=True)


def real_vectors(data: Path, files: tuple[str, ...]) -> Any:
    """Static vectors of the instructions of some files' rows, each text once, in row_id order."""
    from curate.defaults import STATIC
    from curate.sources import load_rows
    from curate.vectors.embedding import embed_rows

    rows = {row.row_id: row for file in files for row in load_rows(str(data / file)).rows}
    return embed_rows([rows[row_id] for row_id in sorted(rows)], STATIC)[0]


# What follows runs in the peers' environment too, so it may import nothing of curate before `ours` asks for it.


def ours(vectors: Any, k: int) -> Any:
    return pick(as_candidates(vectors, clustered=False), "facility-location", 1.0).indices[:k]


def random(vectors: Any, k: int) -> Any:
    return np.random.default_rng(0).permutation(len(vectors))[:k]


def apricot(vectors: Any, k: int) -> Any:
    from apricot import FacilityLocationSelection

    chooser = FacilityLocationSelection(k, metric="cosine", optimizer="lazy", verbose=False)
    return np.asarray(chooser.fit(vectors).ranking)


def submodlib(vectors: Any, k: int) -> Any:
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=len(vectors), mode="dense", data=vectors, metric="cosine")
    return np.array([i for i, _ in function.maximize(budget=k, optimizer="LazyGreedy", show_progress=False)])


def semhash(vectors: Any, k: int, candidate_limit: int | str = "auto") -> Any:
    from semhash import SemHash

    # The model only encodes new records, and there are none.
    index = SemHash.from_embeddings(vectors, [str(i) for i in range(len(vectors))], model=None)
    found = index.self_find_representative(selection_size=k, candidate_limit=candidate_limit)
    return np.array([int(record) for record in found.selected])


def semhash_all(vectors: Any, k: int) -> Any:
    return semhash(vectors, k, len(vectors))


CHOOSERS: dict[str, Callable[[Any, int], Any]] = {
    "ours": ours, "random": random, "apricot": apricot, "submodlib": submodlib, "semhash": semhash,
    "semhash, all rows": semhash_all,
}  # fmt: skip


def memory_kib(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0])


def run_chooser(name: str, path: str) -> dict[str, Any]:
    """In a process of its own: imports and a first run on few rows, then the measured run."""
    choose = CHOOSERS[name]
    choose(np.load(path, mmap_mode="r")[:WARM_UP_ROWS].copy(), min(20, WARM_UP_ROWS))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = memory_kib("VmRSS")
    vectors = np.load(path)
    started = time.perf_counter()
    picks = choose(vectors, K)
    seconds = time.perf_counter() - started
    peak = (memory_kib("VmHWM") - before) / 1024
    return {
        "who": name, "picks": len(set(picks.tolist())), "value": round(value_of(vectors, picks), 5),
        "seconds": round(seconds, 2), "peak_mib_above_imports": round(peak, 1),
    }  # fmt: skip


def run_child(python: str, *arguments: str) -> dict[str, Any] | None:
    """The last line of this script's output in another process, as JSON; None where a package is absent there."""
    done = subprocess.run([python, __file__, *arguments], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        if "ModuleNotFoundError" in done.stderr:
            return None
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def beside_peers(python: str, path: str) -> None:
    results = {name: run_child(sys.executable, "choose", name, path) for name in ("random", "ours")}
    results |= {name: run_child(python, "choose", name, path) for name in PEERS}
    for result in results.values():
        if result is not None:
            print(json.dumps(result), flush=True)
    mine = results["ours"]
    assert mine is not None
    summary: dict[str, Any] = {"absent": [name for name in PEERS if results[name] is None]}
    for name in ("apricot", "submodlib"):
        if (peer := results[name]) is not None:
            summary[name] = {
                "times_faster": round(peer["seconds"] / mine["seconds"], 2),
                "share_of_memory": round(mine["peak_mib_above_imports"] / peer["peak_mib_above_imports"], 3),
                "value_over_theirs": round(mine["value"] - peer["value"], 5),
                "target": {"times_faster": 3, "share_of_memory": 0.25, "value_over_theirs": 0},
            }
    for name in ("semhash", "semhash, all rows"):
        if (peer := results[name]) is not None:
            ratio = round(mine["value"] / peer["value"] - 1, 4)
            summary[name] = {"more_value": ratio, "target": {"more_value": 0.1}}
    print(json.dumps(summary), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["million", "exact", "peers", "strategy", "choose"])
    parser.add_argument("child", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("ROWPICK_DATA"))
    parser.add_argument("--peers-python", default=sys.executable)
    given = parser.parse_args()
    if given.work == "strategy":
        print(json.dumps(run_on_file(*given.child)))
        return
    if given.work == "choose":
        print(json.dumps(run_chooser(*given.child)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"vectors-{given.rows}.npy"
        if given.work in ("million", "exact") and not path.is_file():
            make_vectors(path, given.rows)
        if given.work == "million":
            for strategy in ("kmeans", "facility-location"):
                print(json.dumps(run_child(sys.executable, "strategy", strategy, str(path))), flush=True)
        elif given.work == "exact":
            every = np.load(path, mmap_mode="r")
            rows = np.sort(np.random.default_rng(1).permutation(len(every))[:20_000])
            beside_exact("made", np.ascontiguousarray(every[rows]))
            if given.data is not None:
                files = ("codegen-4.5k.jsonl", "codealpaca-2k.jsonl")
                beside_exact(" and ".join(files), real_vectors(Path(given.data), files))
        else:
            if given.data is None:
                raise SystemExit("peers needs --data DIR (or ROWPICK_DATA) with codegen-4.5k.jsonl in it")
            vectors = folder / "codegen.npy"
            np.save(vectors, real_vectors(Path(given.data), ("codegen-4.5k.jsonl",)))
            beside_peers(given.peers_python, str(vectors))


if __name__ == "__main__":
    main()
