"""Process 1 of the sandbox: starts the tested program and its judge, counts what the tree uses, ends it whole.

It runs no foreign code and holds neither the tests nor the program, so the two children, forks of it, start without
them too. The tests go from the host to the judge alone.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import fcntl
import os
import select
import struct
import sys
import time

from . import guards, kernel, namespaces
from .judging import judge
from .line import wire
from .syscalls import ALLOWED
from .tested import candidate
from .usage import JUDGE_FACTOR, Usage

TYPE_CHECKING = False  # the modules typing and signal cost more to import than all of this one
if TYPE_CHECKING:
    from typing import Any

_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_EAGAIN, _EROFS, _ETOOMANYREFS = 11, 30, 109
POLL_MILLISECONDS = 20
# Comes before the result, once nothing but the tested program can be at fault when no result follows.
STARTED = b"started"


def main() -> None:
    """Read the configuration from standard input, run the job that follows it, write the result to standard output."""
    # Process 1 gets only the signals it handles, so that its own tree cannot interrupt it.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    config = wire.decode(wire.receive(0))
    step = "namespaces"
    try:
        proc = -1
        if config["mode"] != "none":
            if config["mode"] == "unshare":
                namespaces.enter_namespaces(as_root=config["as_root"])
                step = "file tree"
                namespaces.build_root(config)
            step = "private places"
            proc = namespaces.finish_root(config, as_root=config["as_root"])
        step = "guards"
        cell = Cell(config, proc)
        cell.start()
    except (OSError, wire.Closed) as error:
        _finish({"reason": "setup_failed", "detail": f"{step}: {error}"})
    wire.send(1, STARTED)
    _finish(cell.watch())


def _finish(result: dict[str, Any]) -> None:
    wire.send(1, wire.encode(result))
    os._exit(0)


def _close_all_but(*kept: int) -> None:
    last = 2
    for fd in sorted(kept):
        os.closerange(last + 1, fd)
        last = max(last, fd)
    os.closerange(last + 1, 1 << 16)


def _send_descriptor(control: Any, note: bytes, rights: Any) -> None:
    """Send a descriptor; the kernel refuses for a moment where many programs send one at the same time."""
    for _ in range(500):
        try:
            control.sendmsg([note], rights)
            return
        except OSError as error:
            if error.errno != _ETOOMANYREFS:
                raise
            time.sleep(0.02)
    raise OSError(_ETOOMANYREFS, "Too many references")


class Cell:
    """One tested program and its judge."""

    def __init__(self, config: dict[str, Any], proc: int) -> None:
        self.config = config
        self.limits = config["limits"]
        self.guarded = config["mode"] != "none"
        self.proc = proc if proc >= 0 else os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        self.usage = Usage(self.proc, self.limits, guarded=self.guarded)
        self.output = bytearray()
        self.output_bytes = 0
        self.created = {"processes": 0, "threads": 0}
        self.syncs = [ALLOWED[os.uname().machine][name] for name in ("fsync", "fdatasync")] if self.guarded else []
        self.refused = ""
        self.status: int | None = None
        self.landlock = 0

    def start(self) -> None:
        import _socket

        judge_end, candidate_end = _socket.socketpair()
        mine, theirs = _socket.socketpair()
        self.output_fd, output = os.pipe()
        self.verdict_fd, verdict = os.pipe()
        null = os.open("/dev/null", os.O_RDWR)
        os.environ.clear()
        self.candidate = os.fork()
        if not self.candidate:
            for fd, onto in ((null, 0), (output, 1), (output, 2)):
                os.dup2(fd, onto)
            self._become_candidate(candidate_end, theirs)
        self.judge = os.fork()
        if not self.judge:
            for onto in (1, 2):
                os.dup2(null, onto)
            self._become_judge(judge_end.fileno(), verdict)
        self.usage.candidate, self.usage.judge = self.candidate, self.judge
        theirs.close()
        note, ancillary, _, _ = mine.recvmsg(400, 64)
        if not note.startswith(b"ready"):
            raise OSError(0, note.decode(errors="replace") or "the tested process did not start")
        self.landlock = note[5] if len(note) > 5 else 0
        self.listener = struct.unpack("i", ancillary[0][2])[0] if ancillary else -1
        mine.close()
        for fd in (output, verdict, null, 0):
            os.close(fd)
        judge_end.close()
        candidate_end.close()
        if self.guarded:
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
            kernel.drop_capabilities()

    def _guard(self, *, judging: bool) -> int:
        """Give up all that the process does not need, and return Landlock's version."""
        limits = {**self.limits, "cpu_seconds": self.limits["cpu_seconds"] * (JUDGE_FACTOR if judging else 1)}
        os.setpgid(0, 0)
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        guards.set_limits(limits, count_processes=self.guarded and self.config["count_processes"])
        if not self.guarded:
            return 0
        kernel.drop_capabilities()
        return guards.install_landlock(
            [*self.config["read_only"].values(), "/dev/urandom", "/dev/random", "/dev/zero", "/dev/null"],
            ["/tmp", self.config["home"], "/dev/shm", *([judge.TEMPORARY] if judging else [])],
            [] if judging else [judge.TEMPORARY],
        )

    def _become_candidate(self, line: Any, control: Any) -> None:
        try:
            _close_all_but(line.fileno(), control.fileno())
            landlock = self._guard(judging=False)
            listener = guards.install_seccomp(ask_supervisor=True) if self.guarded else -1
            rights = [(1, 1, struct.pack("i", listener))] if listener >= 0 else []
            _send_descriptor(control, b"ready" + bytes([landlock]), rights)
            control.close()
            if listener >= 0:
                os.close(listener)
            fd = line.detach()
            libraries, home = self.config["libraries"], self.config["home"]
            self.__dict__.clear()
            candidate.main(fd, libraries, home)
        except BaseException as error:
            try:
                control.send(f"{type(error).__name__}: {error}".encode()[:300])
            finally:
                os._exit(70)

    def _become_judge(self, line: int, verdict: int) -> None:
        try:
            _close_all_but(line, verdict)
            self._guard(judging=True)
            if self.guarded:
                guards.install_seccomp(ask_supervisor=False)
            judge.main(0, line, verdict, self.config["libraries"])
        finally:
            os._exit(70)

    def watch(self) -> dict[str, Any]:
        """What became of the program."""
        self.usage.looked = time.monotonic()
        poll = select.poll()
        for fd in (self.output_fd, self.verdict_fd, self.listener):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        poll.register(1, 0)  # an error on it is the end of whoever waits for the result
        reason = detail = ""
        next_sample = 0.0
        while not reason:
            for fd, events in poll.poll(POLL_MILLISECONDS):
                if fd == 1:
                    self._kill_all()
                    os._exit(1)
                elif fd == self.verdict_fd:
                    reason, detail = self._read_verdict()
                elif fd == self.listener and events & select.POLLIN:
                    self._answer_call()
                elif fd == self.output_fd and events & select.POLLIN:
                    self._take_output()
                elif fd != self.verdict_fd:
                    poll.unregister(fd)
            now = time.monotonic()
            if now >= next_sample or reason:
                next_sample = now + POLL_MILLISECONDS / 1000
                reason, detail = self.usage.over_limit(now, self.output_bytes) or (reason, detail)
        if reason == "exited":
            self._await_end()
        self._reap()
        return self._result(reason, detail)

    def _read_verdict(self) -> tuple[str, str]:
        try:
            reason, detail = wire.decode(wire.receive(self.verdict_fd))
        except (wire.Closed, wire.BadFrame):
            return "judge_lost", ""
        return str(reason), str(detail)

    def _take_output(self) -> None:
        data = os.read(self.output_fd, 1 << 16)
        self.output_bytes += len(data)
        if len(self.output) < self.config["keep_output_bytes"]:
            self.output += data[: self.config["keep_output_bytes"] - len(self.output)]

    def _answer_call(self) -> None:
        request = bytearray(80)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, request)
        except OSError:
            return
        number, process, _, call = struct.unpack_from("<QIIi", request)
        first = struct.unpack_from("<Q", request, 32)[0]
        if call in self.syncs:
            self._answer(number, 0 if self._is_private(process, first & 0xFFFFFFFF) else -_EROFS, 0)
        else:
            self._answer_clone(number, call, first)

    def _is_private(self, process: int, descriptor: int) -> bool:
        """Return whether a descriptor of a process is of a file in one of the private places."""
        try:
            target = os.readlink(f"{process}/fd/{descriptor}", dir_fd=self.proc)
        except OSError:
            return False
        return any(target.startswith(place + "/") for place in ("/tmp", self.config["home"], "/dev/shm"))

    def _answer_clone(self, number: int, call: int, flags: int) -> None:
        table = ALLOWED[os.uname().machine]
        kind = "threads" if call == table["clone"] and flags & 0x10000 else "processes"
        self.created[kind] += 1
        # Threads end and others begin; of processes, which could use up time unseen between two looks, all count.
        count = self.usage.threads() + 1 if kind == "threads" else self.created[kind]
        allowed = count <= self.limits[kind]
        if not allowed:
            self.refused = kind
        self._answer(number, 0 if allowed else -_EAGAIN, _CONTINUE if allowed else 0)

    def _answer(self, number: int, error: int, flags: int) -> None:
        answer = struct.pack("<QqiI", number, 0, error, flags)
        try:
            fcntl.ioctl(self.listener, _SEND, answer)
        except OSError:
            return

    def _await_end(self) -> None:
        """Wait a moment for a program that hung up to be gone: its line closes before its exit status is there."""
        for _ in range(100):
            self._reap()
            if self.status is not None:
                return
            time.sleep(0.002)

    def _reap(self) -> None:
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not process:
                return
            if process == self.candidate:
                self.status = status

    def _result(self, reason: str, detail: str) -> dict[str, Any]:
        if self.status is not None and reason == "exited":
            ended_by = os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0
            if ended_by == _signal.SIGXCPU:
                reason = "cpu_limit"
            detail = f"signal {ended_by}" if ended_by else f"exit code {os.WEXITSTATUS(self.status)}"
        if self.refused and reason != "passed":
            detail = f"{reason}: {detail}"
            reason = "process_limit"
        while select.select([self.output_fd], [], [], 0)[0] and self.output_bytes <= self.limits["output_bytes"]:
            before = self.output_bytes
            self._take_output()
            if self.output_bytes == before:
                break
        if reason in ("passed", "exited") and self.output_bytes > self.limits["output_bytes"]:
            reason = "output_limit"
        self._kill_all()
        judged = self.usage.cpu.pop(self.judge, 0.0)
        return {
            "reason": reason, "detail": detail, "cpu_seconds": sum(self.usage.cpu.values()), "judge_seconds": judged,
            "peak_bytes": self.usage.peak_bytes, "output": bytes(self.output), "output_bytes": self.output_bytes,
            "processes": self.created["processes"], "landlock": self.landlock,
        }  # fmt: skip

    def _kill_all(self) -> None:
        if self.guarded:
            try:
                os.kill(-1, _signal.SIGKILL)
            except ProcessLookupError:
                return
            return
        for process in [*self.usage.processes(), self.candidate, self.judge]:
            try:
                os.kill(process, _signal.SIGKILL)
            except ProcessLookupError:
                continue


if __name__ == "__main__":
    sys.exit("This is started by evaluate_suite.execution.sandbox.")
