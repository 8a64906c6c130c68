"""The text in a field of a record, wherever it stands and however it is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curate.errors import UserError

Path = tuple[str, ...]  # names and places on the way to a nested field: ("messages", "0", "content")
Record = Mapping[str, Any]
_MEND = "Correct that row, or say which columns to use with --columns."


class UnusableRow(Exception):
    """A record that has no instruction and output of a known shape: `reason` code and `detail`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class NotText(UserError):
    """A field, by its dotted `name`, with a `value` that is no text."""

    def __init__(self, value: Any, name: str, place: str) -> None:
        super().__init__(f'{place}: the field "{name}" is a {type(value).__name__}, not text.', _MEND)
        self.name, self.value = name, value


def is_missing(value: Any) -> bool:
    """Whether a field holds no value: null, or NaN, which pandas writes where it has none."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_blank(value: Any) -> bool:
    """Whether a field holds nothing: no value, a text of white space, or an empty list."""
    return is_missing(value) or value == [] or (isinstance(value, str) and not value.strip())


def is_objects(value: Any) -> bool:
    """Whether a value is a list of objects, as messages are."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def field_at(record: Record, path: Path, place: str) -> Any:
    """The value at `path`; None where something on the way is missing, a `UserError` where it is of another shape."""
    value: Any = record
    for depth, name in enumerate(path):
        if is_missing(value):
            return None
        here = ".".join(path[:depth])
        if isinstance(value, Mapping):
            if name not in value and depth:
                names = ", ".join(map(str, value)) or "none"
                raise UserError(f'{place}: "{here}" has no field "{name}".', f"Its fields: {names}.")
            value = value.get(name)
        elif isinstance(value, list) and name.lstrip("-").isdecimal():
            index = int(name)
            value = value[index] if -len(value) <= index < len(value) else None
        else:
            kind = type(value).__name__
            raise UserError(f'{place}: "{here}" is a {kind}, in which there is no "{name}".', _MEND)
    return value


def text_at(record: Record, path: Path, place: str) -> str:
    """The text at `path`; see `text_of`."""
    return text_of(field_at(record, path, place), ".".join(path), place)


def text_of(value: Any, name: str, place: str) -> str:
    """The text of a field's value: missing is empty text, parts are joined, anything else that is no text an error.

    A part that is a picture or a sound makes the row unusable.
    """
    if is_missing(value):
        return ""
    if isinstance(value, str):
        return value
    if is_objects(value) and all("type" in part or "text" in part for part in value):
        return "".join(_part(part, name, place) for part in value)
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "".join(value)
    raise NotText(value, name, place)


def _part(part: Mapping[str, Any], name: str, place: str) -> str:
    kind = part.get("type", "text")
    if not isinstance(part.get("text"), str) and kind != "text":
        raise UnusableRow("not_text", f'a part of type "{kind}"')
    return text_of(part.get("text"), f"{name}.text", place)


def text_fields(record: Record) -> Iterator[str]:
    """The dotted names of all fields that hold text, nested ones included.

    Of a list the first two entries are looked at; who speaks in a conversation is left out.
    """
    yield from _text_fields(record, ())


def _text_fields(value: Any, path: Path) -> Iterator[str]:
    if isinstance(value, str):
        yield ".".join(path)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in ("role", "from", "type"):
                yield from _text_fields(inner, (*path, str(name)))
    elif isinstance(value, Sequence):
        for number, inner in enumerate(value[:2]):
            yield from _text_fields(inner, (*path, str(number)))
