"""JSON in which a key that stands twice in an object is noticed; the library keeps the last one in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ParsedJson:
    """A parsed text, and the objects in it with a key that has two different values, as (key, object)."""

    value: Any
    repeated: list[tuple[str, dict[str, Any]]]


def parse_json(text: str, *, strict: bool = True, constant: Callable[[str], Any] | None = None) -> ParsedJson:
    """Parse one JSON text; `strict=False` takes raw control characters inside a text as they are,
    and `constant` is called for NaN and Infinity, which are no JSON.

    Of a key with several values the last is kept, as everywhere, and listed in `repeated` where they differ.
    """
    repeated: list[tuple[str, dict[str, Any]]] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) < len(pairs):
            lost = [name for name, value in pairs if value is not built[name] and value != built[name]]
            repeated.extend((name, built) for name in dict.fromkeys(lost))
        return built

    return ParsedJson(json.loads(text, strict=strict, object_pairs_hook=build, parse_constant=constant), repeated)


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a parsed value, the value itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(inner)
