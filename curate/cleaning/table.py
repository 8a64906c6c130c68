"""The table that names the cleaning checks: one line each. It loads no check, so that help is fast."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.errors import UsageError, did_you_mean
from curate.extensions import Table

if TYPE_CHECKING:
    from curate.pool.rows import Finding, Row

    Find = Callable[[Sequence[Row], Sequence[Row]], list[Finding]]


@dataclass(frozen=True)
class Check:
    """One line of the table: the reason code a row is excluded with, and what the check looks for.

    `load` imports the check's file only when it is used and returns `find(rows, held_out)`, which says what to exclude
    of `rows`; held-out rows are looked at and never excluded. `by_row`: each row is judged alone, so the check is
    run block by block; `in_pool` imports the form of a check that maps and groups over the pool at rest.
    A check that has neither is given all rows at once.
    """

    load: Callable[[], Find]
    reason: str
    help: str
    on: bool = True
    by_row: bool = False
    in_pool: Callable[[], Any] | None = None


def _from(module: str, function: str = "find") -> Callable[[], Any]:
    def load() -> Any:
        return getattr(importlib.import_module(f"curate.{module}"), function)

    return load


SECRETS = "secrets"
# In the order they run: a row that several would exclude has the reason of the first.
_OWN: dict[str, Check] = {
    "empty": Check(
        _from("cleaning.empty_output"),
        "empty_output",
        'output or instruction is blank, "nan", "N/A" or an empty fence',
        by_row=True,
    ),
    "duplicates": Check(
        _from("cleaning.exact_duplicates", "find_exact_duplicates"),
        "duplicate",
        "another row says the same to the letter, white space at the ends of lines apart",
        in_pool=_from("cleaning.exact_duplicates", "find_in_pool"),
    ),
    "refusals": Check(
        _from("cleaning.refusals"), "refusal", "the output declines or asks back instead of answering", by_row=True
    ),
    "language": Check(
        _from("cleaning.wrong_language"),
        "wrong_language",
        "the code is in another language than the one asked for",
        by_row=True,
    ),
    "parse": Check(
        _from("cleaning.unparsable"),
        "does_not_parse",
        "the code does not parse in the language it claims to be in",
        by_row=True,
    ),
    SECRETS: Check(_from("cleaning.secrets"), "secret", "a key or token stands in the row", on=False, by_row=True),
    "near-duplicates": Check(
        _from("cleaning.near_duplicates"),
        "near_duplicate",
        "MinHash: another row has nearly the same tokens",
        in_pool=_from("cleaning.near_duplicates", "find_in_pool"),
    ),
}
CHECKS = Table("rowpick.checks", Check, _OWN)
# These two decide what the holdout is drawn from, so the pipeline looks at them first; the rest runs within the bounds.
BEFORE_HOLDOUT = ("empty", "duplicates")
DEFAULT_CHECKS = tuple(
    name for name, check in _OWN.items() if check.on
)  # those of other packages are asked for by name


def parse_checks(given: str) -> tuple[str, ...]:
    """The checks that `--clean` names: "all", "none", or names with commas between, in the order they run."""
    if given in ("all", "none"):
        return tuple(CHECKS) if given == "all" else ()
    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in CHECKS:
            raise UsageError(f'Unknown check "{name}" in --clean.', did_you_mean(name, [*CHECKS, "all", "none"]))
    return tuple(name for name in CHECKS if name in names)
