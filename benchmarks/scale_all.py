"""Every figure of docs/scale.md on one machine of 8 cores or more, as jobs pinned to cores of their own, side by side.

    python benchmarks/scale_all.py --data ../shared/data --results FOLDER --minutes 26

Each job is one of the other scripts under `taskset`; what it prints is FOLDER/<job>.json when it ends (.err: why it did
not). Lanes work their jobs one after the other: `two` and `pair` have 2 cores, `four` has 4; at the end all 8. No job
begins that is likely to pass --minutes. FOLDER/summary.json says which digests were the same, and is written anew
whenever a job ends. --shrink divides all numbers of rows, to try it out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.recombined_pool import SHARD_ROWS, write_recombined_pool

ROOT = Path(__file__).resolve().parents[1]
LANES = {"two": (0, 1), "four": (2, 3, 4, 5), "pair": (6, 7), "all": tuple(range(8))}


@dataclass(frozen=True)
class Job:
    """A script of this folder, its arguments, the first so many cores of its lane, and the seconds it may need."""

    name: str
    script: str
    arguments: tuple[str, ...]
    cores: int
    seconds: float


def scale(name: str, cores: int, seconds: float, rows: int) -> Job:
    return Job(name, "scale.py", ("--only", name, "--rows", str(rows)), cores, seconds)


def strategies(name: str, cores: int, rows: int, engine: str = "local") -> Job:
    arguments = ("--rows", str(rows), "--workers", str(cores), "--engine", engine, "--limit-seconds", "240")
    return Job(name, "scale_strategies.py", arguments, cores, 150)


def workers(engine: str, cores: int, rows: int) -> Job:
    arguments = ("--rows", str(rows), "--workers", str(cores), "--engines", engine)
    return Job(f"workers-{engine}-{cores}", "scale_workers.py", arguments, cores, 40 + 200 / cores)


def sizes(shrink: int) -> tuple[int, int, int]:
    """Return the numbers of rows that the jobs have."""
    return 1_000_000 // shrink, max(100_000 // shrink, 3000), 262_144 // shrink


def plan(shrink: int) -> dict[str, list[Job]]:
    """The jobs of every lane, in the order of worth."""
    million, hundred, quarter = sizes(shrink)
    return {
        "two": [scale("million", 2, 480, million), scale("million-on-ray", 2, 480, million)],
        "four": [
            scale("five-million", 4, 900, 5 * million),
            scale("million-without-minhash", 4, 200, million),
            workers("ray", 4, quarter),
            workers("local", 4, quarter),
        ],
        "pair": [
            strategies("strategies-local-2", 2, hundred),
            strategies("strategies-ray-2", 2, hundred, "ray"),
            strategies("strategies-local-1", 1, hundred),
            scale("million-node-killed", 2, 480, million),
            workers("ray", 2, quarter),
            workers("local", 2, quarter),
            workers("ray", 1, quarter),
            workers("local", 1, quarter),
        ],
        "all": [workers("ray", 8, quarter), workers("local", 8, quarter)],
    }


class Runner:
    """Runs jobs in lanes, and writes what they print."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.until: float = time.monotonic() + 60 * args.minutes
        self.cpus = [int(cpu) for cpu in args.cpus.split(",")]
        self.left_out: list[str] = []
        self.lock = threading.Lock()

    def lane(self, name: str, jobs: list[Job]) -> None:
        """Do the jobs of a lane in turn."""
        cpus = [self.cpus[place] for place in LANES[name]]
        for job in jobs:
            if self._left() < 0.7 * job.seconds / self.args.shrink:
                self.left_out.append(job.name)
                continue
            self._do(job, name, cpus[: job.cores])

    def _left(self) -> float:
        return self.until - time.monotonic()

    def _do(self, job: Job, lane: str, cpus: list[int]) -> None:
        args, cores = self.args, ",".join(map(str, cpus))
        command = ["taskset", "-c", cores, sys.executable, str(ROOT / "benchmarks" / job.script), *job.arguments]
        command += ["--data", str(args.data), "--pools", str(args.pools)]
        if job.script != "scale_workers.py":
            command += ["--home", str(args.home / lane), "--model", str(args.data / "llama2-tokenizer")]
        if job.script == "scale.py":
            port = 21_000 + 200 * list(LANES).index(lane)
            command += ["--nodes", cores, "--port", str(port), "--ray-folder", f"{args.ray_folder}-{lane}"]
            command += ["--kill-after", str(self._kill_after())]
        out, err = args.results / f"{job.name}.part", args.results / f"{job.name}.err"
        started, load = time.monotonic(), os.getloadavg()[0]
        with out.open("w") as stdout, err.open("w") as stderr:
            code = subprocess.run(command, stdout=stdout, stderr=stderr, cwd=ROOT).returncode
        lines = out.read_text()
        record: dict[str, Any] = {
            "job": job.name, "cpus": cores, "exit_code": code, "load_before": round(load, 1),
            "job_seconds": round(time.monotonic() - started, 1),
        }  # fmt: skip
        record["result"] = json.loads(lines) if code == 0 else err.read_text()[-3000:]
        out.unlink()
        if code == 0:
            err.unlink()
        (args.results / f"{job.name}.json").write_text(json.dumps(record))
        with self.lock:
            self.summarise()

    def _kill_after(self) -> float:
        """Half of what the million took on one machine, where that is known."""
        try:
            million = json.loads((self.args.results / "million.json").read_text())
            return float(million["result"]["million"]["wall_seconds"]) / 2
        except (OSError, KeyError, TypeError):
            return float(self.args.kill_after)

    def summarise(self) -> None:
        """Write which runs agree, and one line of all that has ended."""
        records = [json.loads(path.read_text()) for path in sorted(self.args.results.glob("*.json"))]
        records = [record for record in records if "job" in record]
        done = {each["job"]: each["result"] for each in records if each["exit_code"] == 0}
        files = {name: run.get("files") for result in done.values() for name, run in result.items() if _is_run(run)}
        millions = [files[name] for name in ("million", "million-on-ray", "million-node-killed") if name in files]
        picks = [[each["arrays"], each["picks"], each["files"]] for name, each in done.items() if "strategies" in name]
        digests = [run["digest"] for name, each in done.items() if "workers" in name for run in each["runs"]]
        summary = {
            "the million": _agree(millions), "the strategies": _agree(picks), "the workers": _agree(digests),
            "left out": self.left_out, "machine": _machine(),
        }  # fmt: skip
        (self.args.results / "summary.json").write_text(json.dumps(summary))
        (self.args.results / "all.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [*records, summary]))


def _is_run(run: Any) -> bool:
    return isinstance(run, dict) and "files" in run and "wall_seconds" in run


def _agree(results: list[Any]) -> str:
    same = all(result == results[0] for result in results)
    return f"{len(results)} runs, {'the same' if same else 'DIFFERENT'}"


def _machine() -> dict[str, Any]:
    names = {
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    }
    siblings = sorted(
        path.read_text().strip() for path in Path("/sys/devices/system/cpu").glob("cpu*/topology/thread_siblings_list")
    )
    return {
        "cpus": os.cpu_count(),
        "own": sorted(os.sched_getaffinity(0)),
        "names": sorted(names),
        "siblings": sorted(set(siblings)),
        "load": os.getloadavg(),
    }


def make_pools(args: argparse.Namespace) -> None:
    """Make the largest pool; smaller ones of whole shards are its first files."""
    million, hundred, quarter = sizes(args.shrink)
    largest = write_recombined_pool(args.pools / str(5 * million), 5 * million, args.data, processes=8)
    for n_rows in (million, hundred):
        folder = args.pools / str(n_rows)
        folder.mkdir(exist_ok=True)
        for number in range(n_rows // SHARD_ROWS):
            name = f"rows-{number:04}.parquet"
            if not (folder / name).exists():
                os.link(largest / name, folder / name)
    for n_rows in (million, hundred, quarter):
        write_recombined_pool(args.pools / str(n_rows), n_rows, args.data, processes=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real rows and llama2-tokenizer")
    parser.add_argument("--results", type=Path, required=True)
    own = sorted(os.sched_getaffinity(0))[:8]
    parser.add_argument("--cpus", default=",".join(map(str, own)), help="8 of them; default: the first")
    parser.add_argument("--minutes", type=float, default=26)
    parser.add_argument("--kill-after", type=float, default=150)
    parser.add_argument("--home", type=Path, default=Path("/tmp/rowpick-scale"), help="caches, a folder for every lane")
    parser.add_argument("--pools", type=Path, default=Path("/tmp/rowpick-pools"))
    parser.add_argument("--ray-folder", type=Path, default=Path("/tmp/rp-ray"), help="a short path: sockets lie below")
    parser.add_argument("--lanes", default="two,four,pair,all")
    parser.add_argument("--shrink", type=int, default=1)
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    runner, jobs = Runner(args), plan(args.shrink)
    make_pools(args)
    lanes = args.lanes.split(",")
    threads = [threading.Thread(target=runner.lane, args=(name, jobs[name])) for name in lanes if name != "all"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if "all" in lanes:
        runner.lane("all", jobs["all"])
    runner.summarise()


if __name__ == "__main__":
    main()
