"""From records with someone's column names to rows with instruction and output."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.errors import UserError
from curate.pool.read_options import ReadOptions, parse_conditions
from curate.pool.rows import Row, build_row
from curate.sources.fields import Path, Record, UnusableRow, field_at, is_missing, text_at
from curate.sources.shapes import Columns, recognise, resolve
from curate.sources.turns import ASSISTANT, NOT_SINGLE_TURN, USER, Turn, has_turns, read_turns, single_turn

NOT_KEPT = "not_kept"
NO_SYSTEM_MESSAGE = "no_system_message"
SOURCE = "source"
# Columns that travel with a row, and what else people call them. `source` becomes the row's own source.
TRAVELLING = {
    SOURCE: (SOURCE,),
    "license": ("license", "licence"),
    "language": ("language", "lang", "programming_language"),
    "id": ("id", "task_id", "question_id", "problem_id", "uuid"),
}
# How sets made by self-instruct, pandas and Excel write that a question has no input.
_NO_INPUT = re.compile(
    r"<\s*(?:no\s*input|empty)\s*>|\(?(?:no ?input(?: (?:needed|required|provided|given|necessary))?|not applicable"
    r"|n/?a|n\.a|nan|none|null|nil|empty)\)?\.?|#n/a|<na>|nat|\[\]|\{\}|-+",
    re.IGNORECASE,
)


@dataclass
class RowReader:
    """Turns the records of one source into rows, one by one, and keeps what could not be used apart.

    `named` is the mapping of `--columns`, None where the columns are to be recognised. Every record is looked at by
    its own column names: records of one JSONL file need not have the same ones.
    """

    named: Mapping[str, str] | None
    options: ReadOptions = field(default_factory=ReadOptions)
    rows: list[Row] = field(default_factory=list)
    excluded: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _system_messages: int = 0
    _no_input: Counter[str] = field(default_factory=Counter)
    _known: dict[tuple[str, ...], tuple[Columns, dict[str, Path]]] = field(default_factory=dict)
    _input_seen: bool = False
    _left_out: Counter[str] = field(default_factory=Counter)
    _values: dict[str, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.conditions = parse_conditions(self.options.keep_where)
        self._values = {name: Counter() for name in self.conditions}

    def read(self, records: Iterable[tuple[str, Record]], source: str) -> None:
        """Add a row for every (place, record); `place` is what an error about that record begins with."""
        for place, record in records:
            names = tuple(record)
            if names not in self._known:
                columns = recognise(names, self.named, place, record)
                self._known[names] = columns, travelling(names, self.conditions)
                self._input_seen = self._input_seen or bool(columns.inputs)
            columns, travels = self._known[names]
            index = len(self.rows)
            self._left_out.update(name for name in columns.left_out if _has_text(record[name]))
            try:
                pair = self._pair(record, columns, place)
            except UnusableRow as unusable:
                self.excluded[index] = (unusable.reason, unusable.detail)
                unread = field_at(record, columns.turns or columns.instruction, place)
                text = unread if isinstance(unread, str) else json.dumps(unread, ensure_ascii=False, default=str)
                pair = text, ""
            extra = {name: text for name, path in travels.items() if (text := _label(field_at(record, path, place)))}
            self._filter(index, {SOURCE: source, **extra})
            self.rows.append(build_row(index, *pair, source=extra.pop(SOURCE, source), extra=extra))

    def finish(self, where: str) -> list[str]:
        """Check the whole; return notes for people."""
        if not self.rows:
            raise UserError(f"{where} holds no rows.", "Name a source with at least one row.")
        if self.named and "input" in self.named and not self._input_seen:
            raise UserError(f'{where} has no column "{self.named["input"]}".', "Leave input= out of --columns.")
        self._check_conditions(where)
        reasons = Counter(reason for reason, _ in self.excluded.values())
        notes = list(self.notes)
        if n := reasons[NOT_SINGLE_TURN]:
            notes.append(f"{n} rows are not one user and one assistant message and were excluded.")
        if n := reasons["not_text"]:
            notes.append(f"{n} rows have pictures or other parts that are no text and were excluded.")
        if self._system_messages and self.options.system == "drop":
            n = self._system_messages
            notes.append(f"{n} rows have a system message; it is not part of the instruction.")
        for name, n in self._left_out.items():
            whose = "--columns leaves" if self.named else "this shape of rows leaves"
            notes.append(f'{n} rows have text in the column "{name}", which {whose} out of the instruction.')
        if self._no_input:
            spelt = ", ".join(f"{word} {n}" for word, n in self._no_input.most_common(5))
            notes.append(
                f"{self._no_input.total()} rows say in a word that they have no input ({spelt}); it is left out."
            )
        return notes

    def _pair(self, record: Record, columns: Columns, place: str) -> tuple[str, str]:
        """Instruction and output of a record."""
        turns = self._turns(record, columns, place)
        if turns is not None:
            question, answer, system = single_turn(turns)
        else:
            question = text_at(record, columns.instruction, place)
            answer = text_at(record, columns.output, place)
            system = ""
        inputs = [self._input(text_at(record, path, place)) for path in columns.inputs]
        question = "\n".join([question, *(text for text in inputs if text.strip())])
        if columns.history and not is_missing(history := field_at(record, columns.history, place)) and history:
            raise UnusableRow(NOT_SINGLE_TURN, f"a history of {len(history)} turns")
        system = system or (text_at(record, columns.system, place) if columns.system else "")
        return self._with_system(question, system), answer

    def _turns(self, record: Record, columns: Columns, place: str) -> list[Turn] | None:
        """The messages of a record; None where its question and answer are plain columns."""
        if columns.turns:
            return read_turns(field_at(record, columns.turns, place), columns.turns[-1], place)
        question, answer = field_at(record, columns.instruction, place), field_at(record, columns.output, place)
        if not has_turns(question) and not has_turns(answer):
            return None
        sides = ((question, columns.instruction, USER), (answer, columns.output, ASSISTANT))
        turns: list[Turn] = []
        for value, path, role in sides:
            turns += (
                read_turns(value, path[-1], place) if has_turns(value) else [Turn(role, text_at(record, path, place))]
            )
        return turns

    def _with_system(self, question: str, system: str) -> str:
        self._system_messages += bool(system.strip())
        if self.options.system == "require" and not system.strip():
            raise UnusableRow(NO_SYSTEM_MESSAGE, "--system require")
        return question if self.options.system == "drop" or not system.strip() else f"{system}\n{question}"

    def _input(self, text: str) -> str:
        word = text.strip()
        if len(word) > 30 or not _NO_INPUT.fullmatch(word):
            return text
        self._no_input[word] += 1
        return ""

    def _filter(self, index: int, extra: Mapping[str, str]) -> None:
        for name, allowed in self.conditions.items():
            value = extra.get(name, "")
            self._values[name][value] += 1
            if not _allows(allowed, value) and index not in self.excluded:
                self.excluded[index] = (NOT_KEPT, f"{name} {value or 'not said'}")

    def _check_conditions(self, where: str) -> None:
        for name, values in self._values.items():
            if set(values) == {""}:
                raise UserError(f'{where} has no column "{name}" for --keep-where.', "Leave it out.")
            if not any(_allows(self.conditions[name], value) for value in values):
                seen = ", ".join(f"{value or 'not said'} {n}" for value, n in values.most_common(8))
                raise UserError(f"--keep-where {name} keeps no row of {where}.", f"Its values: {seen}.")


def _allows(allowed: frozenset[str], value: str) -> bool:
    """Whether a value, or every one of several with commas between, is allowed."""
    return value.casefold() in allowed or all(part.casefold() in allowed for part in value.split(", "))


def travelling(names: tuple[str, ...], wanted: Iterable[str]) -> dict[str, Path]:
    """The columns of a record that travel with its row, under our names for them: those of the table and `wanted`."""
    found: dict[str, Path] = {}
    for name, spellings in TRAVELLING.items():
        path = next((path for spelling in spellings if (path := resolve(names, spelling))), None)
        if path is not None:
            found[name] = path
    for name in wanted:
        if name not in found and (path := resolve(names, name)):
            found[name] = path
    return found


def _has_text(value: Any) -> bool:
    return not is_missing(value) and bool(str(value or "").strip())


def _label(value: Any) -> str:
    """A travelling value as text; "" where there is none or where it is no label but a structure."""
    if is_missing(value) or isinstance(value, Mapping):
        return ""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_label, value))) if all(isinstance(each, str) for each in value) else ""
    return str(value).strip()
