"""Columns that travel with a row, such as `license`, and the conditions of `--keep-where` on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curate.errors import UserError, did_you_mean
from curate.pool.dialogue import MESSAGES
from curate.pool.read_options import WHOLE, allows, parse_conditions
from curate.sources.fields import Path, Record, field_at, is_missing
from curate.sources.shapes import resolve

SOURCE = "source"
# What people call the columns that travel. `source` becomes the row's own source.
TRAVELLING = {
    SOURCE: (SOURCE,),
    "license": ("license", "licence"),
    "language": ("language", "lang", "programming_language"),
    "id": ("id", "task_id", "question_id", "problem_id", "uuid"),
}


def travelling(names: tuple[str, ...], wanted: Iterable[str]) -> dict[str, Path]:
    """The columns of a record that travel with its row, under our names for them: those of the table and `wanted`."""
    found: dict[str, Path] = {}
    for name, spellings in TRAVELLING.items():
        path = next((path for spelling in spellings if (path := resolve(names, spelling))), None)
        if path is not None:
            found[name] = path
    for name in wanted:
        if name not in (*found, MESSAGES) and (path := resolve(names, name)):
            found[name] = path
    return found


def labels(record: Record, travels: Mapping[str, Path], place: str) -> dict[str, str]:
    """The columns of a record that travel, as texts; those without a value are left out."""
    return {name: text for name, path in travels.items() if (text := _label(field_at(record, path, place)))}


def _label(value: Any) -> str:
    """A travelling value as text; "" where there is none or where it is no label but a structure."""
    if is_missing(value) or isinstance(value, Mapping):
        return ""
    if isinstance(value, list):
        plain = not any(isinstance(each, Mapping | list) for each in value)
        return ", ".join(filter(None, map(_label, value))) if plain else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    text = str(value).strip()
    whole = WHOLE.fullmatch(text) if isinstance(value, float) else None
    return whole[1] if whole else text


class Conditions:
    """The conditions of `--keep-where`, and how often every value of their columns was seen."""

    def __init__(self, conditions: Sequence[str]) -> None:
        self.allowed = parse_conditions(conditions)
        self._values: dict[str, Counter[str]] = {name: Counter() for name in self.allowed}
        self._names: dict[str, None] = {}  # of the columns of all records, in their order
        self._structures: set[str] = set()

    def look(self, names: Iterable[str]) -> None:
        """Take note of a record's columns, to say which there are."""
        self._names |= dict.fromkeys(map(str, names))

    def refusal(self, labelled: Mapping[str, str], record: Record) -> str | None:
        """The condition that a record with these labels does not meet: its column and value; None where all are met."""
        refused = None
        for name, allowed in self.allowed.items():
            value = labelled.get(name, "")
            self._values[name][value] += 1
            if not value and isinstance(record.get(name), Mapping | list) and record[name]:
                self._structures.add(name)
            if refused is None and not allows(allowed, value):
                refused = f"{name} {value or 'not said'}"
        return refused

    def take_over(self, part: Conditions) -> None:
        """Add what the conditions of another part of the source have seen."""
        for name, values in part._values.items():
            self._values[name].update(values)
        self._names |= part._names
        self._structures |= part._structures

    def check(self, where: str) -> None:
        """Raise a `UserError` where a column is in no record, or no value of it is allowed."""
        for name, values in self._values.items():
            if name in self._structures and set(values) == {""}:
                raise UserError(
                    f'--keep-where: the column "{name}" of {where} holds structures.',
                    f"Name a field in it, such as --keep-where {name}.FIELD=VALUE",
                )
            if set(values) == {""} and resolve(tuple(self._names), name) is None:
                columns = [each for each in self._names if each != MESSAGES]
                raise UserError(f'{where} has no column "{name}" for --keep-where.', did_you_mean(name, columns))
            if not any(allows(self.allowed[name], value) for value in values):
                seen = ", ".join(f"{value or 'not said'} {n}" for value, n in values.most_common(8))
                raise UserError(f"--keep-where {name} keeps no row of {where}.", f"Its values: {seen}.")
