"""The process that runs the tests. It asks the tested program for calls, never runs its code."""

from __future__ import annotations

import ast
import builtins
import os
import sys
from typing import Any

from . import wire


class CandidateGone(BaseException):
    """The tested program ended or broke the protocol; no `except Exception` of a test may swallow it."""


class Session:
    """The judge's end of the line."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.broken = ""
        self.calls = 0
        self.raised: BaseException | None = None

    def ask(self, *request: Any) -> Any:
        if self.broken:
            raise CandidateGone
        data = wire.encode(request, self.refer)
        try:
            wire.send(self.fd, data)
            answer = wire.decode(wire.receive(self.fd), self.resolve)
        except wire.Closed:
            self.broken = "exited"
            raise CandidateGone from None
        except wire.BadFrame:
            self.broken = "tampered"
            raise CandidateGone from None
        if type(answer) is tuple and len(answer) == 2 and answer[0] == "ok":
            return answer[1]
        if type(answer) is tuple and len(answer) == 4 and answer[0] == "error":
            self.raised = _exception(answer[1], answer[2], answer[3])
            raise self.raised
        self.broken = "tampered"
        raise CandidateGone

    def refer(self, value: Any) -> wire.Reference:
        if type(value) is Remote:
            reference: wire.Reference = object.__getattribute__(value, "_reference")
            return reference
        raise wire.BadFrame(f"the test hands over a {type(value).__name__}, which is not plain data")

    def resolve(self, reference: wire.Reference) -> Any:
        return Remote(self, reference)


class Remote:
    """A thing of the tested program. Equality is identity: the tested program has no say in any comparison."""

    __slots__ = ("_reference", "_session")

    def __init__(self, session: Session, reference: wire.Reference) -> None:
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_reference", reference)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        session: Session = object.__getattribute__(self, "_session")
        session.calls += 1
        reply = session.ask("call", self, arguments, keywords)
        if type(reply) is not tuple or len(reply) != 2 or type(reply[1]) is not tuple:
            session.broken = "tampered"
            raise CandidateGone
        result, changed = reply
        for before, after in zip(arguments, changed, strict=False):
            _take_over(before, after)
        return result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__name__":
            raise AttributeError(name)
        return self._session.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__getattribute__(self, "_session").ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._session.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._session.ask("setitem", self, key, value)

    def __iter__(self) -> Any:
        return self if self._reference.kind == "iterator" else self._session.ask("iter", self)

    def __next__(self) -> Any:
        reply = self._session.ask("next", self)
        if type(reply) is tuple and len(reply) == 2 and reply[0] == "item":
            return reply[1]
        raise StopIteration

    def __len__(self) -> int:
        return int(self._session.ask("len", self))

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        text = self._session.ask("str", self)
        return text if type(text) is str else ""

    def __repr__(self) -> str:
        text = self._session.ask("repr", self)
        return text if type(text) is str else ""


def _take_over(before: Any, after: Any) -> None:
    if type(before) is not type(after):
        return
    if type(before) in (list, bytearray):
        before[:] = after
    elif type(before) in (dict, set):
        before.clear()
        before.update(after)


def _exception(kinds: Any, text: Any, code: Any) -> BaseException:
    names = [name for name in kinds if type(name) is str] if type(kinds) is list else []
    known = None
    for name in names:
        found = getattr(builtins, name, None)
        if isinstance(found, type) and issubclass(found, Exception):
            known = found
            break
    label = names[0] if names else "unknown"
    try:
        error: BaseException = (known or RuntimeError)(str(text))
    except Exception:
        error = RuntimeError(str(text))
    error.candidate_kind = label  # type: ignore[attr-defined]
    error.candidate_exit = code if type(code) is int else None  # type: ignore[attr-defined]
    return error


def _wanted_names(source: str) -> list[str]:
    tree = ast.parse(source)
    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return sorted(loaded)


def _bring_names(session: Session, space: dict[str, Any], source: str, entry_point: str) -> bool:
    wanted = [n for n in _wanted_names(source) if n not in space and not hasattr(builtins, n)]
    found = session.ask("names", sorted({*wanted, *([entry_point] if entry_point else [])}))
    if type(found) is not dict:
        session.broken = "tampered"
        raise CandidateGone
    for name, pair in found.items():
        if name not in wanted and name != entry_point:
            continue
        if pair[0] == "module":
            if name in sys.stdlib_module_names:
                space[name] = __import__(name)
        else:
            space[name] = pair[1]
    return not entry_point or entry_point in found


def judge(job: dict[str, Any], session: Session) -> tuple[str, str]:
    """The reason (`passed` or why not) and a detail."""
    try:
        session.ask("load", job["program"], job["module"])
        if job["kind"] == "run":
            return "passed", ""
        space: dict[str, Any] = {"__name__": "tests"}
        if job["prelude"]:
            exec(compile(job["prelude"], "<prompt>", "exec", dont_inherit=True), space)
        space.pop(job["entry_point"], None)
        if not _bring_names(session, space, job["test"], job["entry_point"]):
            return "missing_entry_point", f"{job['entry_point']} is not defined"
        session.raised = None
        exec(compile(job["test"], "<test>", "exec", dont_inherit=True), space)
    except CandidateGone:
        return session.broken, ""
    except BaseException as error:
        if session.broken:
            return session.broken, ""
        return _explain(error, session, job["kind"])
    if session.broken:
        return session.broken, ""
    return ("passed", "") if session.calls else ("test_calls_nothing", "")


def _explain(error: BaseException, session: Session, kind: str) -> tuple[str, str]:
    if error is session.raised:
        name = getattr(error, "candidate_kind", "")
        if kind == "run" and name == "SystemExit" and getattr(error, "candidate_exit", None) in (None, 0):
            return ("passed", "") if str(error) in ("", "0", "None") else ("exception", f"SystemExit: {error}")
        reason = "memory_limit" if name == "MemoryError" else "exception"
        return reason, f"{name}: {error}"[:300]
    if isinstance(error, AssertionError):
        return "wrong_answer", str(error)[:300]
    return "test_error", f"{type(error).__name__}: {error}"[:300]


def main(job_fd: int, rpc_fd: int, verdict_fd: int, libraries: list[str]) -> None:
    """Read the job, judge it, write the verdict."""
    sys.path[:] = [path for path in sys.path if not path.endswith("/execution")] + libraries
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    verdict = ("sandbox_error", "")
    try:
        verdict = judge(wire.decode(wire.receive(job_fd)), Session(rpc_fd))
    except BaseException as error:
        verdict = ("sandbox_error", f"{type(error).__name__}: {error}"[:300])
    finally:
        wire.send(verdict_fd, wire.encode(verdict))
        os._exit(0)
