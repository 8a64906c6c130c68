"""What can go wrong that is not a bug: one sentence that says what, the value, what is allowed, and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An expected failure; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(f"{what} {next_step}".strip())
        self.what = what
        self.next_step = next_step


class UsageError(UserError):
    """A value that is wrong in itself, whatever the input: exit code 2."""

    exit_code = 2


class GateError(UserError):
    """The work was done, but a gate that the user asked for by flag failed: exit code 3."""

    exit_code = 3


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """The next step for a misspelt `value`: the closest allowed name, and all of them."""
    names = sorted(allowed)
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    guess = f'Did you mean "{close[0]}"? ' if close else ""
    return f"{guess}Allowed: {', '.join(names)}."
