"""The process that runs the tests. It asks the tested program for calls, never runs its code."""

from __future__ import annotations

import builtins
import os
import sys

from . import wire

TYPE_CHECKING = False  # the module typing costs more to import than all of this one
if TYPE_CHECKING:
    from typing import Any

# An iteration of the judge's would end early, and `all(map(f, x))` would be true, if these came through.
_ENDS_ITERATION = ("StopIteration", "StopAsyncIteration")


class NotPlainError(Exception):
    """A test hands the tested program something that cannot be sent as data: the test's fault, not the program's."""


class CandidateGone(BaseException):
    """The tested program ended or broke the protocol; no `except Exception` of a test may swallow it."""


class Session:
    """The judge's end of the line."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.broken = ""
        self.asked = 0
        self.calls = 0
        self.lent = False  # the test works with things of the program beside the function it tests
        self.raised: BaseException | None = None
        self.remotes: dict[int, Remote] = {}

    def ask(self, *request: Any) -> Any:
        if self.broken:
            raise CandidateGone
        data = wire.encode(request, self.refer)
        self.asked += 1
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
        raise NotPlainError(f"the test hands over a {type(value).__name__}, which is not plain data")

    def resolve(self, reference: wire.Reference) -> Any:
        if reference.number not in self.remotes:
            self.remotes[reference.number] = Remote(self, reference)
        return self.remotes[reference.number]


class Remote:
    """A thing of the tested program. It never equals anything of the judge's: an `__eq__` of the tested program is
    asked only about two of its own things, where it could return the same thing twice just as well.
    """

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
        # Only a function that returns nothing has its arguments' new contents taken over: one that could empty the
        # list it was given and return a list too would match whatever the test computes from that list afterwards.
        if result is None:
            for before, after in zip(arguments, changed, strict=False):
                _take_over(before, after)
        return result

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(other) is Remote and self._session.ask("eq", self, other) is True

    def __hash__(self) -> int:
        return hash(self._reference.number)

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
            known = RuntimeError if name in _ENDS_ITERATION else found
            break
    label = names[0][:100] if names else "unknown"
    try:
        error: BaseException = (known or RuntimeError)(str(text))
    except Exception:
        error = RuntimeError(str(text))
    error.candidate_kind = label  # type: ignore[attr-defined]
    error.candidate_text = str(text)[:300]  # type: ignore[attr-defined]
    error.candidate_exit = code if type(code) is int else None  # type: ignore[attr-defined]
    return error


def _load(session: Session, space: dict[str, Any], job: dict[str, Any]) -> tuple[set[str], bool]:
    """Have the program loaded and put what the test names and nothing else defines into the test's space.

    Back come the names that the tested program lacks, and whether it gave for one what a test may trip over: data, or
    a module where the test has none.
    """
    odd = False
    entry_point = job["entry_point"]
    wanted = {name for name in job["names"] if name not in space} | ({entry_point} if entry_point else set())
    found = session.ask("load", job["program"], job["module"], sorted(wanted))
    if type(found) is not dict:
        session.broken = "tampered"
        raise CandidateGone
    for name in wanted & set(found):
        kind, value = found[name]
        # A module is the judge's own, whatever the tested program calls by its name.
        if kind == "module" or name in job["modules"]:
            module = job["modules"].get(name) or (name if name in sys.stdlib_module_names else "")
            if module:
                space[name] = __import__(module)
        else:
            space[name] = value
            session.lent = session.lent or name != entry_point
        odd = odd or (type(space.get(name)) is not Remote and name not in job["modules"])
    return wanted - set(found), odd


def judge(job: dict[str, Any], session: Session) -> tuple[str, str]:
    """The reason (`passed` or why not) and a detail."""
    missing: set[str] = set()
    before, odd = 0, False
    try:
        space: dict[str, Any] = {"__name__": "tests"}
        if job["prelude"]:
            exec(compile(job["prelude"], "<prompt>", "exec", dont_inherit=True), space)
        space.pop(job["entry_point"], None)
        missing, odd = _load(session, space, job)
        if job["kind"] == "run":
            return "passed", ""
        if job["entry_point"] in missing:
            return "missing_entry_point", f"{job['entry_point']} is not defined"
        session.raised = None
        before = session.asked - odd
        exec(compile(job["test"], "<test>", "exec", dont_inherit=True), space)
    except CandidateGone:
        return session.broken, ""
    except BaseException as error:
        if session.broken:
            return session.broken, ""
        return _explain(error, session, job["kind"], missing, session.asked > before)
    if session.broken:
        return session.broken, ""
    if session.calls:
        return "passed", ""
    return ("missing_entry_point", "nothing to call") if odd else ("test_calls_nothing", "")


def _explain(error: BaseException, session: Session, kind: str, missing: set[str], asked: bool) -> tuple[str, str]:
    """Why it did not pass. A test that stumbles over an answer fails it; one that asked nothing is itself wrong."""
    name, text = type(error).__name__, _text(error)
    if error is session.raised:
        name, text = getattr(error, "candidate_kind", ""), getattr(error, "candidate_text", "")
        if kind == "run" and name == "SystemExit" and getattr(error, "candidate_exit", None) in (None, 0):
            return ("passed", "") if text in ("", "0", "None") else ("exception", f"SystemExit: {text}")
        return "memory_limit" if name == "MemoryError" else "exception", f"{name}: {text}"
    if isinstance(error, AssertionError):
        return "wrong_answer", text
    if isinstance(error, NameError) and error.name in missing:
        return "missing_entry_point", text
    # A thing in the place of data answers no operator; that nothing was asked then is the program's doing.
    stumbled = session.lent and isinstance(error, TypeError) and Remote.__name__ in text
    if isinstance(error, NotPlainError) or not (asked or stumbled):
        return "test_error", f"{name}: {text}"
    return "wrong_answer", f"{name}: {text}"


def _text(error: BaseException) -> str:
    try:
        return str(error)[:300]
    except BaseException:  # the message may be a thing of the tested program
        return ""


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
