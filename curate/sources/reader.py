"""From records with someone's column names to rows with instruction and output."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from curate.errors import UserError
from curate.pool.dialogue import ASSISTANT, MESSAGES, SYSTEM, USER, Dialogue
from curate.pool.read_options import SINGLE, ReadOptions, allows, parse_conditions
from curate.pool.rows import build_row
from curate.pool.writer import PoolWriter
from curate.sources.fields import Path, Record, UnusableRow, field_at, is_missing, text_at, text_of
from curate.sources.shapes import Columns, recognise, resolve
from curate.sources.turns import (
    EMPTY_TURN,
    NOT_ALTERNATING,
    NOT_SINGLE_TURN,
    Turn,
    has_turns,
    read_dialogue,
    read_turns,
    single_turn,
)

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
    rows: PoolWriter = field(default_factory=PoolWriter)
    excluded: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _system_messages: int = 0
    _unanswered: int = 0
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
                columns = recognise(names, self.named, place, record, self.options.turns != SINGLE)
                self._known[names] = columns, travelling(names, (*self.conditions, *self.options.travel))
                self._input_seen = self._input_seen or bool(columns.inputs)
            columns, travels = self._known[names]
            index = len(self.rows)
            self._left_out.update(name for name in columns.left_out if _has_text(record[name]))
            dialogue: Dialogue | None = None
            try:
                pair, dialogue = self._texts(record, columns, place)
            except UnusableRow as unusable:
                self.excluded[index] = (unusable.reason, unusable.detail)
                unread = field_at(record, columns.turns or columns.instruction, place)
                text = unread if isinstance(unread, str) else json.dumps(unread, ensure_ascii=False, default=str)
                pair = text, ""
            extra = {name: text for name, path in travels.items() if (text := _label(field_at(record, path, place)))}
            self._filter(index, {SOURCE: source, **extra})
            if dialogue is not None:
                extra[MESSAGES] = dialogue.as_text()
            self.rows.append(build_row(index, *pair, source=extra.pop(SOURCE, source), extra=extra))

    def agrees(self, part: RowReader) -> bool:
        """Whether another reader took the columns for the same as this one; who saw a name first decides."""
        return all(self._known.get(names, found) == found for names, found in part._known.items())

    def take_over(self, part: RowReader) -> None:
        """Add all that another reader read, behind what this one did."""
        start = len(self.rows)
        self.rows.take_over(part.rows)
        self.excluded |= {start + index: why for index, why in part.excluded.items()}
        self.notes += part.notes
        self._system_messages += part._system_messages
        self._unanswered += part._unanswered
        self._no_input.update(part._no_input)
        self._known |= part._known
        self._input_seen |= part._input_seen
        self._left_out.update(part._left_out)
        for name, values in part._values.items():
            self._values[name].update(values)

    def for_part(self, rows: PoolWriter) -> RowReader:
        """Return a reader of another part of the same source, which knows the columns that this one does."""
        return RowReader(self.named, self.options, rows, _known=dict(self._known))

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
            step = "--turns last or --turns all takes longer conversations"
            notes.append(f"{n} rows are not one user and one assistant message and were excluded; {step}.")
        if n := reasons[NOT_ALTERNATING] + reasons[EMPTY_TURN]:
            notes.append(f"{n} rows are no questions and answers in turn and were excluded.")
        if self._unanswered:
            notes.append(f"{self._unanswered} rows end with a question that has no answer; it is left out.")
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

    def _texts(self, record: Record, columns: Columns, place: str) -> tuple[tuple[str, str], Dialogue | None]:
        """Instruction and output of a record, and its conversation where it is more than one question and answer."""
        if self.options.turns == SINGLE:
            return self._pair(record, columns, place), None
        dialogue = self._dialogue(record, columns, place)
        plain = len(dialogue.rounds) == 1 and not dialogue.system
        return (dialogue.instruction, dialogue.output), None if plain else dialogue

    def _pair(self, record: Record, columns: Columns, place: str) -> tuple[str, str]:
        """Instruction and output of a record that is one question and one answer."""
        turns = self._turns(record, columns, place)
        if turns is not None:
            question, answer, system = single_turn(turns)
        else:
            question = text_at(record, columns.instruction, place)
            answer = text_at(record, columns.output, place)
            system = ""
        question = self._with_inputs(question, record, columns, place)
        if columns.history and not is_missing(history := field_at(record, columns.history, place)) and history:
            raise UnusableRow(NOT_SINGLE_TURN, f"a history of {len(history)} turns")
        system = self._system(system or self._system_column(record, columns, place))
        return f"{system}\n{question}" if system else question, answer

    def _dialogue(self, record: Record, columns: Columns, place: str) -> Dialogue:
        """The rounds of a record: its messages, or its history and its one question and answer."""
        turns = self._turns(record, columns, place)
        if turns is None:
            history = self._history(record, columns.history, place) if columns.history else []
            question = self._with_inputs(text_at(record, columns.instruction, place), record, columns, place)
            turns = [*history, Turn(USER, question), Turn(ASSISTANT, text_at(record, columns.output, place))]
        if self.options.system == "drop":
            self._system_messages += any(turn.role == SYSTEM and turn.text.strip() for turn in turns)
            turns = [turn for turn in turns if turn.role != SYSTEM]
        dialogue = read_dialogue(turns)
        self._unanswered += turns[-1].role == USER
        return replace(dialogue, system=self._system(dialogue.system or self._system_column(record, columns, place)))

    def _with_inputs(self, question: str, record: Record, columns: Columns, place: str) -> str:
        inputs = [self._input(text_at(record, path, place)) for path in columns.inputs]
        return "\n".join([question, *(text for text in inputs if text.strip())])

    def _system_column(self, record: Record, columns: Columns, place: str) -> str:
        return text_at(record, columns.system, place) if columns.system else ""

    def _history(self, record: Record, path: Path, place: str) -> list[Turn]:
        """The messages of a `history`, as LLaMA-Factory has it: pairs of question and answer."""
        value = field_at(record, path, place)
        if is_missing(value) or not value:
            return []
        if has_turns(value):
            return read_turns(value, path[-1], place)
        if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            raise UserError(
                f'{place}: the field "{path[-1]}" is not a list of questions and answers.',
                'Write it as [["question", "answer"], ...], or leave it out.',
            )
        return [
            Turn(role, text_of(text, path[-1], place))
            for pair in value
            for role, text in zip((USER, ASSISTANT), pair, strict=True)
        ]

    def _turns(self, record: Record, columns: Columns, place: str) -> list[Turn] | None:
        """The messages of a record; None where its question and answer are plain columns."""
        if columns.turns and not (columns.instruction and is_missing(field_at(record, columns.turns, place))):
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

    def _system(self, text: str) -> str:
        """A system message that is kept, else ""."""
        said = bool(text.strip())
        self._system_messages += said
        if self.options.system == "require" and not said:
            raise UnusableRow(NO_SYSTEM_MESSAGE, "--system require")
        return text if said and self.options.system != "drop" else ""

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
            if not allows(allowed, value) and index not in self.excluded:
                self.excluded[index] = (NOT_KEPT, f"{name} {value or 'not said'}")

    def _check_conditions(self, where: str) -> None:
        for name, values in self._values.items():
            if set(values) == {""}:
                raise UserError(f'{where} has no column "{name}" for --keep-where.', "Leave it out.")
            if not any(allows(self.conditions[name], value) for value in values):
                seen = ", ".join(f"{value or 'not said'} {n}" for value, n in values.most_common(8))
                raise UserError(f"--keep-where {name} keeps no row of {where}.", f"Its values: {seen}.")


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


def _has_text(value: Any) -> bool:
    return not is_missing(value) and bool(str(value or "").strip())


def _label(value: Any) -> str:
    """A travelling value as text; "" where there is none or where it is no label but a structure."""
    if is_missing(value) or isinstance(value, Mapping):
        return ""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_label, value))) if all(isinstance(each, str) for each in value) else ""
    return str(value).strip()
