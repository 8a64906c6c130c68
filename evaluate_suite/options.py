"""Options whose value is a list with commas."""

from __future__ import annotations

from collections.abc import Sequence

from curate.errors import UsageError, did_you_mean


def parse_list(text: str | None) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def parse_numbers(text: str | None, option: str) -> list[int]:
    """Whole numbers separated by commas."""
    if not all(number.isdecimal() for number in parse_list(text)):
        raise UsageError(f'{option} is "{text}".', "Write whole numbers with commas: 250,500,2000")
    return [int(number) for number in parse_list(text)]


def parse_names(text: str | None, allowed: Sequence[str], option: str) -> list[str]:
    """Names separated by commas; an unknown one is a usage error."""
    names = parse_list(text)
    for name in names:
        if name not in allowed:
            raise UsageError(f'{option} does not know "{name}".', did_you_mean(name, allowed))
    return names
