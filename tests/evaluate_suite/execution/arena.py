"""Runs attacks and decides from outside whether they got anywhere: canaries, listeners, processes, verdicts."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from evaluate_suite.execution.limits import DEFAULT_LIMITS, Limits
from evaluate_suite.execution.sandbox import UNSCORED_REASONS, Mode, ProgramResult, _layout, path_inside, run_job
from evaluate_suite.tasks.job import Job

from .attacks.attack import Attack
from .attacks.write_outside import NAME

ENV_NAME = "ROWPICK_ATTACK_CANARY"
SHOWN = 300


@dataclass(frozen=True)
class Ended:
    """What whoever ran a program says of it."""

    passed: bool | None
    reason: str
    text: str
    seconds: float
    peak_bytes: int = 0


@dataclass(frozen=True)
class Outcome:
    """One attack: how it succeeded (empty: not at all), and what it ran into."""

    attack: Attack
    succeeded: tuple[str, ...]
    evidence: str
    ended: Ended = field(repr=False)

    @property
    def stopped_by(self) -> str | None:
        return self.attack.stopped_by(self.evidence)


Runner = Callable[[Attack, str, Limits], Ended]


class Arena:
    """Everything the attacks would hurt, and the watch over it. `leak` in a program writes to `loot` and prints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = "secret-" + secrets.token_hex(12)
        self.mark = "done-" + secrets.token_hex(12)
        self.canaries = folder / "canaries"
        self.canaries.mkdir(mode=0o755)
        (self.canaries / "secret.txt").write_text(self.secret)
        (self.canaries / "module.py").write_text(f"SECRET = {self.secret!r}\n")
        self.loot = folder / "loot"
        self.loot.mkdir(mode=0o777)
        self.hits: list[str] = []
        self.sockets: list[tuple[str, socket.socket]] = []
        os.environ[ENV_NAME] = self.secret
        ctypes.CDLL(None).prctl(36, 1)  # orphans come back to this process, so that none is lost sight of
        self.tcp4 = self._listen("tcp4", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))[1]
        self.tcp6 = self._listen("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))[1]
        self.udp4 = self._listen("udp4", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))[1]
        self.unix = str(folder / "socket")
        self.abstract = "rowpick-" + secrets.token_hex(6)
        self._listen("unix", socket.AF_UNIX, socket.SOCK_STREAM, self.unix)
        self._listen("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self.abstract)
        self.before = self._fingerprint()
        self.older = set(descendants())  # of tests before: a library's own helpers outlive them
        self.running = True
        self.most_processes = 0
        self.most_bytes = 0
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _listen(self, name: str, family: int, kind: int, address: object) -> tuple[str, int]:
        s = socket.socket(family, kind)
        try:
            s.bind(address)  # type: ignore[arg-type]
        except OSError:
            if name != "tcp6":  # a machine without IPv6
                raise
            return "", 1
        if kind == socket.SOCK_STREAM:
            s.listen()
        self.sockets.append((name, s))
        found = s.getsockname()
        return ("", int(found[1])) if isinstance(found, tuple) else ("", 0)

    def _fingerprint(self) -> str:
        """The canary folder with names, contents, modes and times; and what no attack may have changed elsewhere."""
        digest = hashlib.sha256()
        for path in sorted(self.canaries.rglob("*")):
            found = path.lstat()
            digest.update(f"{path} {found.st_mode} {found.st_mtime_ns} {found.st_uid}".encode())
            if path.is_file() and not path.is_symlink():
                digest.update(path.read_bytes())
        for path in sorted((Path(_layout()[0][0])).glob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _planted(self) -> list[str]:
        """Files with the name that attacks on installed folders use."""
        places = {Path("/"), Path(os.__file__).parent, *map(Path, _layout()[2]), Path(_layout()[0][0]) / "__pycache__"}
        return [str(p) for folder in places for p in folder.glob(NAME + "*")]

    def _watch(self) -> None:
        poll = select.poll()
        for _, s in self.sockets:
            s.setblocking(False)
            poll.register(s, select.POLLIN)
        names = {s.fileno(): (name, s) for name, s in self.sockets}
        while self.running:
            for fd, _ in poll.poll(60):
                name, s = names[fd]
                self.hits.append(name)
                try:
                    if s.type == socket.SOCK_STREAM:
                        s.accept()[0].close()
                    else:
                        s.recv(100)
                except OSError:
                    continue
            alive = [pid for pid in descendants() if pid not in self.older]
            self.most_processes = max(self.most_processes, len(alive))
            self.most_bytes = max(self.most_bytes, sum(map(_resident, alive)))

    def prelude(self, attack: Attack) -> str:
        """What a program is told: names of what it would hurt, and `leak`."""
        names = {
            "SECRET_FILE": str(self.canaries / "secret.txt"), "CANARY_DIR": str(self.canaries), "TCP4": self.tcp4,
            "TCP6": self.tcp6, "UDP4": self.udp4, "UNIX": self.unix, "ABSTRACT": self.abstract, "MARK": self.mark,
            "HOST_PID": os.getpid(), "HOST_NAME": os.uname().nodename, "ENV_NAME": ENV_NAME,
            "HOST_HOME": str(Path("~").expanduser()), "CELL_DIR": path_inside(_layout()[0][0]),
        }  # fmt: skip
        loot = str(self.loot / hashlib.sha256(f"{attack.kind}/{attack.name}".encode()).hexdigest()[:16])
        lines = [f"{name} = {value!r}" for name, value in names.items()]
        return "\n".join(lines) + (
            "\ndef leak(*things):\n"
            "    for thing in things:\n"
            "        print(thing, flush=True)\n"
            "        try:\n"
            f"            with open({loot!r}, 'a') as file: file.write(str(thing))\n"
            "        except Exception: pass\n"
        )

    def taken(self) -> str:
        """What programs carried off into the open folder."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.loot.iterdir()) if path.is_file())

    def run(self, attack: Attack, runner: Runner) -> Outcome:
        """Run one attack and look at everything it could have changed alone: text, verdict, end."""
        limits = replace(DEFAULT_LIMITS, **{"cpu_seconds": 1.0, **attack.limits})  # type: ignore[arg-type]
        ended = runner(attack, self.prelude(attack) + attack.program, limits)
        succeeded = []
        loot = "".join(p.read_text(errors="replace") for p in [self._loot_of(attack)] if p.is_file())
        for word, what in ((self.secret, "read the secret"), (self.mark, "says it did it")):
            if word in ended.text or word in loot:
                succeeded.append(what)
        if attack.test and ended.passed:
            succeeded.append("passed with a wrong solution")
        if ended.passed is None:
            succeeded.append(f"escaped the score ({ended.reason})")
        floods = attack.kind == "output_floods" and len(ended.text) > 2 * 4096 + SHOWN
        if floods or (attack.guard.startswith("output") and ended.passed):
            succeeded.append("its output was not limited")
        if ended.peak_bytes > 2 * limits.memory_bytes:
            succeeded.append(f"held {ended.peak_bytes >> 20} MiB")
        if ended.seconds > limits.stall_seconds + 15:
            succeeded.append(f"ran for {ended.seconds:.0f} s")
        return Outcome(attack, tuple(succeeded), f"{ended.reason}: {ended.text[:SHOWN]} {ended.text[-SHOWN:]}", ended)

    def _loot_of(self, attack: Attack) -> Path:
        return self.loot / hashlib.sha256(f"{attack.kind}/{attack.name}".encode()).hexdigest()[:16]

    def run_all(self, attacks: Sequence[Attack], runner: Runner, workers: int) -> list[Outcome]:
        """Outcomes in the order of `attacks`; sleepers wait beside the others."""
        pools = {True: ThreadPoolExecutor(16), False: ThreadPoolExecutor(workers)}
        futures = [pools[attack.sleeps].submit(self.run, attack, runner) for attack in attacks]
        found = [future.result() for future in futures]
        for pool in pools.values():
            pool.shutdown()
        return found

    def damage(self) -> list[str]:
        """What is wrong with the world after attacks: changed files, contacts, processes left; then all is reset."""
        time.sleep(0.3)
        found = [f"listener {name} was reached" for name in sorted(set(self.hits))]
        if self._fingerprint() != self.before:
            found.append("files outside were changed")
        found += [f"planted {path}" for path in self._planted()]
        left = [pid for pid in descendants() if pid not in self.older]
        found += [f"process {pid} was left behind" for pid in left]
        for pid in left:
            with _gone():
                os.kill(pid, signal.SIGKILL)
        self.reset()
        return found

    def reset(self) -> None:
        """Put the canaries back."""
        self.hits.clear()
        shutil.rmtree(self.canaries)
        self.canaries.mkdir(mode=0o755)
        (self.canaries / "secret.txt").write_text(self.secret)
        (self.canaries / "module.py").write_text(f"SECRET = {self.secret!r}\n")
        self.before = self._fingerprint()
        self.most_processes = self.most_bytes = 0

    def close(self) -> None:
        self.running = False
        self.watcher.join()
        for _, s in self.sockets:
            s.close()
        os.environ.pop(ENV_NAME, None)
        ctypes.CDLL(None).prctl(36, 0)


@contextmanager
def arena(folder: Path | None = None) -> Iterator[Arena]:
    """An arena in a folder that everybody may enter, so that only the sandbox keeps programs out of it."""
    place = Path(tempfile.mkdtemp(prefix="rowpick-arena-", dir=folder))
    place.chmod(0o755)
    made = Arena(place)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _gone() -> Iterator[None]:
    with suppress(OSError, ValueError, IndexError):
        yield


def descendants() -> list[int]:
    """Living processes below this one (threads and the dead not counted)."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with _gone():
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                if state not in "ZX":
                    parents[int(entry.name)] = int(parent)
    below = {os.getpid()}
    found: list[int] = []
    while True:
        more = [pid for pid, parent in parents.items() if parent in below and pid not in below]
        if not more:
            return found
        found += more
        below |= set(more)


def _resident(pid: int) -> int:
    with _gone():
        return (int(Path(f"/proc/{pid}/statm").read_text().split()[1])) * 4096
    return 0


def sandbox_runner(mode: Mode) -> Runner:
    """Runs attacks in our sandbox; `none` is --unsafe-local."""

    def run(attack: Attack, program: str, limits: Limits) -> Ended:
        job = Job(program, "test", "", attack.test, attack.entry_point) if attack.test else Job(program)
        began = time.monotonic()
        result: ProgramResult = run_job(job, limits, mode)
        passed = None if result.reason in UNSCORED_REASONS else result.passed
        text = f"{result.detail} {result.output}"
        return Ended(passed, result.reason, text, time.monotonic() - began, result.peak_bytes)

    return run


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Outcomes for another process."""
    return json.dumps([
        {"attack": asdict(o.attack), "succeeded": o.succeeded, "evidence": o.evidence, "ended": asdict(o.ended)}
        for o in outcomes
    ])  # fmt: skip
