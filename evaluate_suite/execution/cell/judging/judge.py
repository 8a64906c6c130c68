"""Runs the tests and says what they found. It asks the tested program for calls and never runs its code."""

from __future__ import annotations

import os
import sys

from ..line import wire
from . import libraries, remote, twice
from .lending import TEST_MODULE
from .session import TEST_FILE, CandidateGone, Session

TYPE_CHECKING = False  # the module typing costs more to import than all of this one
if TYPE_CHECKING:
    from typing import Any

TEMPORARY = "/judge"  # where the tests' own temporary files are: the program can open one by name, not look for one


_MODULES = {
    "numpy", "pandas", "torch", "scipy", "os.path", "collections.abc", "concurrent.futures", "urllib.parse",
    "unittest.mock", "importlib.util", "xml.etree.ElementTree",
}  # fmt: skip


class Missing:
    """What the program lacks of what the test names, and what it gave that is no thing to call."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.odd = False  # data or a module in the place of what the test calls
        self.data = False  # plain data that the test reads and never calls


def _load(session: Session, space: dict[str, Any], job: dict[str, Any]) -> Missing:
    """Have the program loaded and put what the test names and nothing else defines into the test's space."""
    missing = Missing()
    entry_point = job["entry_point"]
    wanted = {name for name in job["names"] if name not in space} | ({entry_point} if entry_point else set())
    wanted |= {name for name, value in space.items() if isinstance(value, type) and value.__module__ == TEST_MODULE}
    for name, module in job["modules"].items():
        if name in wanted and _lend_module(space, name, module, job["module_attributes"].get(name, [])):
            wanted.discard(name)
    loaded = session.ask("load", job["program"], job["module"], tuple(sorted(wanted)), tuple(job["builtins"]))
    if type(loaded) is not tuple:
        session._break("tampered")
    values = dict(loaded)
    for name in wanted & set(values):
        kind, value = values[name]
        if kind == "module":
            _lend_module(space, name, job["modules"].get(name) or value, [])
        elif name not in space or isinstance(value, remote.RemoteType):
            space[name] = value
            session.lent_names = session.lent_names or name != entry_point
            if isinstance(value, remote.RemoteType) and (name in job["classes"] or name not in job["names"]):
                session.declared.add(remote.HERE.references[value].number)
        _note_odd(missing, name, space.get(name), job)
    for name in set(values) & set(job["builtins"]) - wanted:
        if values[name][0] == "value":
            space[name] = values[name][1]
    missing.names = wanted - set(values) - set(space)
    return missing


def _note_odd(missing: Missing, name: str, value: Any, job: dict[str, Any]) -> None:
    if name in job["modules"] or remote.is_foreign(value) or callable(value):
        return
    if name in job["called"] or name == job["entry_point"]:
        missing.odd = True
    else:
        missing.data = True


def _lend_module(space: dict[str, Any], name: str, module: Any, attributes: list[str]) -> bool:
    """Put a module of the judge's own, not the program's, under a name of the test; whether there is one that fits."""
    if module not in sys.stdlib_module_names | _MODULES:
        return False
    try:
        __import__(str(module))
    except ImportError:
        return False
    if not all(hasattr(sys.modules[str(module)], attribute) for attribute in attributes):
        return False
    space[name] = sys.modules[str(module)]
    return True


def judge(job: dict[str, Any], session: Session) -> tuple[str, str]:
    """Return the reason (`passed` or why not) and a detail."""
    if job["kind"] == "together":
        return _together(job, session)
    missing, before, loaded = Missing(), 0, 0
    try:
        session.raise_lines = set(job["raise_lines"])
        session.mirror.prepare(job["patched"], job["seeded"])
        libraries.forward(job["looks_with"])
        space: dict[str, Any] = {"__name__": TEST_MODULE, twice.MARK: twice.mark, twice.COMPARE: twice.compare}
        if job["prelude"]:
            exec(compile(job["prelude"], "<prompt>", "exec", dont_inherit=True), space)
        space.pop(job["entry_point"], None)
        missing = _load(session, space, job)
        if job["kind"] == "run":
            return "passed", ""
        if job["entry_point"] in missing.names:
            return "missing_entry_point", f"{job['entry_point']} is not defined"
        session.raised = None
        loaded = session.asked
        before = loaded - missing.odd
        exec(compile(job["test"], TEST_FILE, "exec", dont_inherit=True), space)
    except CandidateGone:
        return session.broken, session.why
    except BaseException as error:
        if session.broken:
            return session.broken, session.why
        reason, detail = _explain(error, session, job["kind"], missing.names, session.asked > before)
        if job["one_process"] and reason in ("wrong_answer", "test_error") and job["kind"] == "test":
            return "needs_together", f"the test looks at {job['one_process']}"
        return reason, detail
    if session.broken:
        return session.broken, session.why
    if session.asked > loaded or (missing.data and not missing.odd):
        return "passed", ""
    return ("missing_entry_point", "nothing to call") if missing.odd else ("test_calls_nothing", "")


def _together(job: dict[str, Any], session: Session) -> tuple[str, str]:
    """Have program and test run in the program's own process, which then says what it likes."""
    try:
        reason, detail = session.ask(
            "together", job["program"], job["test"], job["entry_point"], tuple(job["modules"].items())
        )
    except CandidateGone:
        return session.broken, session.why
    except BaseException as error:
        return _explain(error, session, "together", set(), True)
    return str(reason), str(detail)[:300]


def _explain(error: BaseException, session: Session, kind: str, missing: set[str], asked: bool) -> tuple[str, str]:
    """Why it did not pass. A test that stumbles over an answer fails it; one that asked nothing is itself wrong."""
    name, text = type(error).__name__, _text(error)
    if session.needs_together:
        return "needs_together", session.needs_together
    if error is session.raised:
        text = session.raised_text
        if kind == "run" and isinstance(error, SystemExit) and error.code in (None, 0):
            return "passed", ""
        return "memory_limit" if name == "MemoryError" else "exception", f"{name}: {text}"[:400]
    if isinstance(error, AssertionError):
        return "wrong_answer", text or session.own_rule
    if isinstance(error, NameError) and error.name in missing:
        return "missing_entry_point", text
    # A thing in the place of data answers no operator; that nothing was asked then is the program's doing.
    stumbled = session.lent_names and isinstance(error, TypeError | AttributeError)
    if not (asked or stumbled):
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
    if os.path.isdir(TEMPORARY):
        os.environ["TMPDIR"] = TEMPORARY
    verdict = ("sandbox_error", "")
    try:
        verdict = judge(wire.decode(wire.receive(job_fd)), Session(rpc_fd))
    except BaseException as error:
        verdict = ("sandbox_error", f"{type(error).__name__}: {error}"[:300])
    finally:
        wire.send(verdict_fd, wire.encode(verdict))
        os._exit(0)
