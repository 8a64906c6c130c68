"""The table that names the execution backends: the ways to run a program that nobody trusts, one line each.

Another package adds one with an entry point of the group `rowpick.execution_backends`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from curate.errors import UsageError, UserError, did_you_mean
from curate.extensions import Table
from evaluate_suite.execution.limits import Limits
from evaluate_suite.execution.sandbox import Mode, ProgramResult, choose_mode, mode_problem, run_job
from evaluate_suite.tasks.job import Job

AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class Backend:
    """One line of the table.

    `run` runs a job, a program with or without tests, within limits and says what became of it; it is called by several
    threads at a time. `problem` returns why that cannot be done on this machine, or None. One that does not isolate
    the program from the machine is used with `--unsafe-local` alone.
    """

    run: Callable[[Job, Limits], ProgramResult]
    help: str
    problem: Callable[[], str | None]
    isolates: bool = True


def _sandbox(mode: Mode, help: str) -> Backend:
    return Backend(partial(run_job, mode=mode), help, partial(mode_problem, mode), isolates=mode != NONE)


_OWN: dict[str, Backend] = {
    "bwrap": _sandbox("bwrap", "namespaces made by bubblewrap, seccomp and Landlock inside"),
    "unshare": _sandbox("unshare", "the same namespaces made by ourselves, where bubblewrap is missing"),
    NONE: _sandbox("none", "no sandbox: the program runs as you, on this machine"),
}
BACKENDS = Table("rowpick.execution_backends", Backend, _OWN)


def choose_backend(asked: str = AUTO, *, unsafe_local: bool = False) -> str:
    """Return the name of the backend to use: the one asked for, or for "auto" the first sandbox that works here.

    Raises a `UsageError` for a name that is not in the table or that needs `unsafe_local`, and a `UserError` where the
    backend cannot be used on this machine.
    """
    if asked == AUTO:
        return NONE if unsafe_local else choose_mode()
    if asked not in BACKENDS:
        raise UsageError(f'--backend does not know "{asked}".', did_you_mean(asked, [AUTO, *BACKENDS]))
    backend = BACKENDS[asked]
    if not backend.isolates and not unsafe_local:
        raise UsageError(f'Backend "{asked}" isolates nothing.', "Say that you want that: --unsafe-local.")
    problem = backend.problem()
    if problem is not None:
        raise UserError(f'Backend "{asked}" cannot be used here: {problem}.', "Leave --backend out.")
    return asked


def is_own(name: str) -> bool:
    """Return whether a backend is one of ours; those agree on every result, so results do not depend on which it is."""
    return name in _OWN
