"""What the sandbox says of a run and of itself; where the kernel gives too little it refuses and says what is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UserError
from evaluate_suite.execution import sandbox
from evaluate_suite.execution.cell import kernel
from evaluate_suite.execution.cell.syscalls import ALLOWED, EXAMINED
from evaluate_suite.execution.limits import DEFAULT_LIMITS
from evaluate_suite.execution.sandbox import ProgramResult, choose_mode, missing_kernel_parts, run_job, run_program
from evaluate_suite.tasks.job import Job

from .test_attacks import usable_mode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux")


@pytest.fixture
def fresh_choice() -> Iterator[None]:
    choose_mode.cache_clear()
    yield
    choose_mode.cache_clear()


@pytest.mark.parametrize(
    ("program", "reason", "detail"),
    [
        ("print('x')", "passed", ""),
        ("import sys\nsys.exit()", "passed", ""),
        ("import sys\nsys.exit(3)", "exception", "SystemExit: 3"),
        ("raise KeyError('k')", "exception", "KeyError: 'k'"),
        ("import os\nos._exit(3)", "exited", "exit code 3"),
        ("import os\nos.kill(os.getpid(), 9)", "exited", "signal 9"),
        ("if __name__ == '__main__': raise KeyError", "exception", "KeyError: "),
        (
            "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
            "passed",
            "",
        ),
    ],
)
def test_a_script_ends_as_it_would_outside(program: str, reason: str, detail: str) -> None:
    usable_mode()
    found = run_program(program)
    assert (found.reason, found.detail, found.passed) == (reason, detail, reason == "passed")
    assert found.output == ("x\n" if "'x'" in program else "late\n" if "late" in program else "")


def test_what_a_program_used_is_told() -> None:
    usable_mode()
    found = run_program("x = bytearray(b'x') * (64 << 20)\nimport time\nt = time.process_time()\n"
                        "while time.process_time() < t + 0.3: pass\nprint('a' * 9000)")  # fmt: skip
    assert found.passed
    assert 0.3 <= found.cpu_seconds < 3
    assert found.peak_bytes > 64 << 20
    assert (found.output_bytes, len(found.output)) == (9001, 4096)


def test_a_checkout_below_a_place_of_the_programs_own_leaves_that_place_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(sandbox.__file__).parent
    if not str(folder).startswith(sandbox.PRIVATE):  # where it does, this very checkout is such a one
        monkeypatch.setattr(sandbox, "PRIVATE", (*sandbox.PRIVATE, str(folder.parent)))
    program = f"import os, numpy\nprint(os.path.exists({str(folder)!r}), os.listdir('/tmp'))"
    for mode in {usable_mode(), "unshare"}:
        result = run_job(Job(program), DEFAULT_LIMITS, mode)
        assert (result.output, result.detail) == ("False []\n", "")


def test_landlock_is_used_where_the_kernel_has_it() -> None:
    usable_mode()
    assert run_program("pass").landlock == kernel.landlock_abi()


def test_inside_there_is_nothing_of_the_machine() -> None:
    usable_mode()
    program = "import os\nprint(os.getcwd(), os.listdir(), os.listdir('/tmp'), dict(os.environ), os.uname().nodename, os.getuid())"
    assert run_program(program).output == "/home/sandbox [] [] {'HOME': '/home/sandbox'} sandbox 65534\n"


def test_the_bigger_calls_are_in_no_list() -> None:
    banned = {"ptrace", "mount", "unshare", "setns", "bpf", "io_uring_setup", "keyctl", "memfd_create", "process_vm_readv",
              "perf_event_open", "userfaultfd", "kexec_load", "init_module", "setuid", "chroot", "pivot_root", "open_by_handle_at",
              "pidfd_getfd", "seccomp", "mknod", "mknodat", "shmget", "chown", "fchown"}  # fmt: skip
    for machine, table in ALLOWED.items():
        assert not banned & set(table), machine
        assert len(set(table.values())) == len(table)
        assert set(EXAMINED) - {"fork", "vfork"} <= set(table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"platform": "darwin"}, ["Linux"]),
        ({"version": (5, 10)}, ["Linux 5.12 or newer"]),
        ({"machine": "riscv64"}, ["a system call table for riscv64"]),
        ({"absent": "/proc/self/ns/user"}, ["user namespaces"]),
        ({"absent": "/proc/self/ns/net"}, ["network namespaces"]),
        ({"absent": "/proc/sys/kernel/seccomp/actions_avail"}, ["seccomp with user notification"]),
    ],
)
def test_what_the_kernel_lacks_is_named_and_refused(
    change: dict[str, Any], words: list[str], monkeypatch: Any, fresh_choice: None
) -> None:
    if "platform" in change:
        monkeypatch.setattr(sandbox.sys, "platform", change["platform"])
    if "version" in change:
        monkeypatch.setattr(sandbox, "_kernel_version", lambda: change["version"])
    if "machine" in change:
        real = os.uname()
        changed = os.uname_result((*real[:4], change["machine"]))
        monkeypatch.setattr(sandbox.os, "uname", lambda: changed)
    if "absent" in change:
        real_exists = Path.exists
        monkeypatch.setattr(Path, "exists", lambda self, **k: str(self) != change["absent"] and real_exists(self, **k))
    missing = missing_kernel_parts()
    assert all(any(word in part for part in missing) for word in words)
    monkeypatch.setattr(sandbox, "run_job", lambda *a: pytest.fail("ran although something is missing"))
    with pytest.raises(
        UserError, match=rf"cannot isolate generated code; missing: .*{words[0]}.*--unsafe-local"
    ) as error:
        choose_mode()
    assert "Allow unprivileged user namespaces" in str(error.value)


def test_where_neither_way_works_both_are_told(monkeypatch: Any, fresh_choice: None) -> None:
    def fails(job: Job, limits: Any, mode: str) -> ProgramResult:
        return ProgramResult(False, "setup_failed", f"no permission for {mode}")

    monkeypatch.setattr(sandbox, "run_job", fails)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: "/usr/bin/bwrap")
    with pytest.raises(UserError, match=r"bwrap: no permission for bwrap; unshare: no permission for unshare"):
        choose_mode()


def test_without_bubblewrap_our_own_namespaces_are_used(monkeypatch: Any, fresh_choice: None) -> None:
    usable_mode()
    choose_mode.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert choose_mode() == "unshare"
    assert run_job(Job("print(1)"), DEFAULT_LIMITS, "unshare").output == "1\n"


def test_a_lost_judge_gets_a_second_run_and_then_counts_as_failed(monkeypatch: Any) -> None:
    answers = [ProgramResult(False, "judge_lost"), ProgramResult(True, "passed")]
    monkeypatch.setattr(sandbox, "_run_once", lambda *a: answers.pop(0))
    assert run_job(Job("pass"), DEFAULT_LIMITS, "none").passed
    answers = [ProgramResult(False, "supervisor_lost")] * 2
    found = run_job(Job("pass"), DEFAULT_LIMITS, "none")
    assert (found.reason, found.passed, answers) == ("supervisor_lost", False, [])


def test_a_sandbox_that_could_not_be_set_up_is_set_up_again(monkeypatch: Any) -> None:
    answers = [ProgramResult(False, "setup_failed", "Too many references")] * 2 + [ProgramResult(True, "passed")]
    monkeypatch.setattr(sandbox, "_run_once", lambda *a: answers.pop(0))
    monkeypatch.setattr(sandbox.time, "sleep", lambda seconds: None)
    assert run_job(Job("pass"), DEFAULT_LIMITS, "none").passed
    assert answers == []


@pytest.mark.parametrize("own", [True, False])
def test_a_program_syncs_its_own_files_and_none_of_the_machine(own: bool) -> None:
    usable_mode()
    file = "open('x', 'w')" if own else "open(os.__file__)"
    found = run_program(f"import os\nfile = {file}\nos.fsync(file.fileno())")
    assert found.passed is own
    assert own or "Read-only file system" in found.detail


def test_the_packages_that_hold_answers_are_empty_inside() -> None:
    usable_mode()
    for folder in sandbox._hidden():
        assert run_program(f"import os\nprint(os.listdir({folder!r}))").output == "[]\n"
