"""From records with someone's column names to rows with instruction and output."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.errors import UsageError, UserError
from curate.pool.rows import Row, build_row

ROLES = ("instruction", "output", "input")
SHAPES = (
    {"instruction": "instruction", "output": "output", "input": "input"},
    {"instruction": "instruction", "output": "output"},
    {"instruction": "prompt", "output": "completion"},
)
MESSAGES = "messages"
NOT_SINGLE_TURN = "not_single_turn"
_EXAMPLE = "Write instruction=NAME,output=NAME[,input=NAME]."
# What people call the two columns, the likeliest first; only for the suggestion in an error.
_OFTEN = {
    "instruction": ("instruction", "prompt", "question", "query", "problem", "task", "input", "text"),
    "output": ("output", "response", "answer", "completion", "solution", "code", "target"),
}


class UnusableRow(Exception):
    """A record that has no instruction and output of a known shape: `reason` code and `detail`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def parse_columns(given: str | None) -> dict[str, str] | None:
    """`instruction=NAME,output=NAME[,input=NAME]` as a mapping from role to column name."""
    if given is None:
        return None
    mapping: dict[str, str] = {}
    for part in given.split(","):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if role not in ROLES or not equals or not name or role in mapping:
            raise UsageError(f'--columns has "{part}".', _EXAMPLE)
        mapping[role] = name
    missing = [role for role in ROLES[:2] if role not in mapping]
    if missing:
        raise UsageError(f"--columns names no {missing[0]}.", _EXAMPLE)
    return mapping


@dataclass
class RowReader:
    """Turns the records of one source into rows, one by one, and keeps what could not be used apart.

    `given` is the mapping of `--columns`, None where the columns are to be recognised. Every record is looked at by
    its own column names: records of one JSONL file need not have the same ones.
    """

    given: Mapping[str, str] | None
    rows: list[Row] = field(default_factory=list)
    excluded: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    system_messages: int = 0
    _known: dict[tuple[str, ...], Mapping[str, str]] = field(default_factory=dict)
    _input_seen: bool = False

    def read(self, records: Iterable[tuple[str, Mapping[str, Any]]], source: str) -> None:
        """Add a row for every (place, record); `place` is what an error about that record begins with."""
        for place, record in records:
            names = tuple(record)
            if names not in self._known:
                self._known[names] = recognise(names, self.given, place)
            mapping = self._known[names]
            self._input_seen = self._input_seen or "input" in mapping
            index = len(self.rows)
            try:
                pair = _pair(record, mapping, place) if mapping else self._single_turn(record, place)
            except UnusableRow as unusable:
                self.excluded[index] = (unusable.reason, unusable.detail)
                pair = json.dumps(record[MESSAGES], ensure_ascii=False, default=str), ""
            self.rows.append(build_row(index, *pair, source=source))

    def finish(self, where: str) -> list[str]:
        """Check the whole; notes for people come back."""
        if not self.rows:
            raise UserError(f"{where} holds no rows.", "Name a source with at least one row.")
        if self.given and "input" in self.given and not self._input_seen:
            raise UserError(f'{where} has no column "{self.given["input"]}".', "Leave input= out of --columns.")
        notes = []
        if self.excluded:
            notes.append(f"{len(self.excluded)} rows are not one user and one assistant message and were excluded.")
        if self.system_messages:
            notes.append(f"{self.system_messages} rows have a system message; it is not part of the instruction.")
        return notes

    def _single_turn(self, record: Mapping[str, Any], place: str) -> tuple[str, str]:
        messages = record[MESSAGES]
        if messages is None:
            messages = []
        if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
            raise UserError(
                f'{place}: the field "{MESSAGES}" is not a list of messages.',
                "Mend that row, or say which columns to use with --columns.",
            )
        turns = [message for message in messages if message.get("role") != "system"]
        roles = [str(message.get("role")) for message in turns]
        if roles != ["user", "assistant"]:
            detail = ", ".join(roles[:6]) + (f", ... ({len(roles)} messages)" if len(roles) > 6 else "")
            raise UnusableRow(NOT_SINGLE_TURN, detail or "no messages")
        pair = text_of(turns[0], "content", place), text_of(turns[1], "content", place)
        self.system_messages += len(turns) < len(messages)
        return pair


def recognise(names: tuple[str, ...], given: Mapping[str, str] | None, where: str) -> Mapping[str, str]:
    """The mapping from role to column for a record with these column names; `{}` means single-turn messages."""
    have = f"Its columns: {', '.join(map(str, names)) or 'none'}."
    if given is not None:
        for role in ROLES[:2]:
            if given[role] not in names:
                close = difflib.get_close_matches(given[role], names, n=1, cutoff=0.5)
                guess = f' Did you mean "{close[0]}"?' if close else ""
                raise UserError(f'{where} has no column "{given[role]}".', have + guess)
        return {role: name for role, name in given.items() if name in names}
    for shape in SHAPES:
        if set(shape.values()) <= set(names):
            return shape
    if MESSAGES in names:
        return {}
    raise UserError(
        f"{where}: no columns that are recognised (instruction and output, prompt and completion, or messages).",
        f"{have} Say which is which, for example --columns {_guess(names)}",
    )


def _guess(names: tuple[str, ...]) -> str:
    """A `--columns` value to try: the likeliest name that contains a usual word, NAME where there is none."""
    parts, free = [], list(names)
    for role, words in _OFTEN.items():
        found = next((name for word in words for name in free if word in name.lower()), None)
        parts.append(f"{role}={found or 'NAME'}")
        free = [name for name in free if name != found]
    return ",".join(parts)


def _pair(record: Mapping[str, Any], mapping: Mapping[str, str], place: str) -> tuple[str, str]:
    instruction = text_of(record, mapping["instruction"], place)
    output = text_of(record, mapping["output"], place)
    extra = text_of(record, mapping["input"], place) if "input" in mapping else ""
    return (f"{instruction}\n{extra}" if extra.strip() else instruction), output


def text_of(record: Mapping[str, Any], name: str, place: str) -> str:
    """The text in a field. Null and absent are empty text; anything else that is not text is an error."""
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(
            f'{place}: the field "{name}" is a {type(value).__name__}, not text.',
            "Mend that row, or say which columns to use with --columns.",
        )
    return value
