"""What can go wrong that is not a bug: one sentence that says what, the value, what is allowed, and the next step."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")  # a drive of Windows has one letter


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


def missing_file(path: str | Path, whose: str = "", step: str = "Check the path.") -> UserError:
    """Return the error that a file is not there; where an address stands for it, that it must be on this machine.

    `whose` says which file it is of the command. A `Path` has one slash where an address has two.
    """
    address = _ADDRESS.match(str(path))
    if address is None:
        return UserError(f"The file {path}{whose} does not exist." if whose else f"{path} does not exist.", step)
    what = f"{address[1]}://{str(path)[address.end() :]}{whose} is an address, and a file of this machine is wanted."
    return UserError(what, "Download it and name the copy; --dataset, --target and --decontaminate take addresses.")


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """The next step for a misspelt `value`: the closest allowed name, and all of them."""
    names = sorted(allowed)
    close = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    close = close or difflib.get_close_matches(value.casefold(), names, n=1, cutoff=0.5)
    guess = f'Did you mean "{close[0]}"? ' if close else ""
    return f"{guess}Allowed: {', '.join(names)}."
