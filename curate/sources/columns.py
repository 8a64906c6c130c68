"""From a record with someone's column names to instruction and output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.errors import UsageError, UserError

ROLES = ("instruction", "output", "input")
SHAPES = (
    {"instruction": "instruction", "input": "input", "output": "output"},
    {"instruction": "instruction", "output": "output"},
    {"instruction": "prompt", "output": "completion"},
)
MESSAGES = "messages"


class UnusableRow(Exception):
    """A record that has no instruction and output of the known shape: `reason` code and `detail`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def parse_columns(given: str | None) -> dict[str, str] | None:
    """`instruction=NAME,output=NAME[,input=NAME]` as a mapping from role to column name."""
    if given is None:
        return None
    mapping: dict[str, str] = {}
    for part in given.split(","):
        role, equals, name = part.partition("=")
        if role.strip() not in ROLES or not equals or not name.strip():
            raise UsageError(f'--columns has "{part}".', "Write instruction=NAME,output=NAME[,input=NAME].")
        mapping[role.strip()] = name.strip()
    missing = [role for role in ROLES[:2] if role not in mapping]
    if missing:
        raise UsageError(f"--columns names no {missing[0]}.", "Write instruction=NAME,output=NAME[,input=NAME].")
    return mapping


def recognise(names: set[str], given: Mapping[str, str] | None, where: str) -> Mapping[str, str]:
    """The mapping from role to column for a source with these column names; `{}` means single-turn messages."""
    if given is not None:
        absent = [name for name in given.values() if name not in names]
        if absent:
            raise UserError(f'{where} has no column "{absent[0]}".', f"Its columns: {', '.join(sorted(names))}.")
        return given
    for shape in SHAPES:
        if set(shape.values()) <= names:
            return shape
    if MESSAGES in names:
        return {}
    guess = _guess(names)
    raise UserError(
        f"{where} has no columns that are recognised; it has: {', '.join(sorted(names)) or 'none'}.",
        f"Say which is which, for example --columns {guess}.",
    )


def _guess(names: set[str]) -> str:
    import difflib

    def closest(words: tuple[str, ...], fallback: str) -> str:
        found = [match for word in words for match in difflib.get_close_matches(word, sorted(names), 1, 0.6)]
        return found[0] if found else fallback

    instruction = closest(("instruction", "question", "prompt", "query", "text"), "NAME")
    return f"instruction={instruction},output={closest(('output', 'response', 'answer', 'completion', 'code'), 'NAME')}"


def read_pair(record: Mapping[str, Any], mapping: Mapping[str, str], where: str) -> tuple[str, str]:
    """Instruction and output of a record. A missing or null output is an empty one; anything but text is an error."""
    if not mapping:
        return _single_turn(record, where)
    instruction = _text(record, mapping["instruction"], where)
    output = _text(record, mapping["output"], where)
    extra = _text(record, mapping["input"], where) if "input" in mapping else ""
    return (f"{instruction}\n{extra}" if extra.strip() else instruction), output


def _text(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(
            f'{where}: the field "{name}" is a {type(value).__name__}, not text.',
            "Mend that row, or name other --columns.",
        )
    return value


def _single_turn(record: Mapping[str, Any], where: str) -> tuple[str, str]:
    messages = record.get(MESSAGES)
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        raise UserError(f'{where}: "{MESSAGES}" is not a list of messages.', "Mend that row, or name other --columns.")
    turns = [(m.get("role"), m.get("content")) for m in messages if m.get("role") != "system"]
    if [role for role, _ in turns] != ["user", "assistant"]:
        raise UnusableRow("not_single_turn", f"{len(turns)} messages")
    return str(turns[0][1] or ""), str(turns[1][1] or "")
