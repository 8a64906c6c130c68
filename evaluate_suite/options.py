"""Options whose value is a list with commas."""

from __future__ import annotations

from collections.abc import Sequence

from curate.errors import UsageError, did_you_mean


def parse_list(given: str | None) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in (given or "").split(",") if name.strip()]


def parse_numbers(given: str | None, option: str) -> list[int]:
    """Whole numbers separated by commas."""
    if not all(text.isdecimal() for text in parse_list(given)):
        raise UsageError(f'{option} is "{given}".', "Write whole numbers with commas: 250,500,2000")
    return [int(text) for text in parse_list(given)]


def parse_names(given: str | None, allowed: Sequence[str], option: str) -> list[str]:
    """Names separated by commas; an unknown one is a usage error."""
    names = parse_list(given)
    for name in names:
        if name not in allowed:
            raise UsageError(f'{option} does not know "{name}".', did_you_mean(name, allowed))
    return names
