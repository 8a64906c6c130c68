"""From records with someone's column names to rows with instruction and output."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from curate.errors import UserError
from curate.pool.dialogue import ASSISTANT, MESSAGES, SYSTEM, USER, Dialogue
from curate.pool.read_options import SINGLE, ReadOptions
from curate.pool.rows import build_row
from curate.pool.writer import PoolWriter
from curate.sources.fields import NotText, Path, Record, UnusableRow, field_at, is_missing, text_at
from curate.sources.shapes import Columns, Unrecognised, explain_nested, explain_other, fits, recognise
from curate.sources.travelling import SOURCE, Conditions, labels, travelling
from curate.sources.turns import (
    EMPTY_TURN,
    NOT_ALTERNATING,
    NOT_SINGLE_TURN,
    Turn,
    are_messages,
    has_turns,
    read_dialogue,
    read_history,
    read_turns,
    single_turn,
)

NOT_KEPT = "not_kept"
REJECTED = "rejected_answer"
NO_SYSTEM_MESSAGE = "no_system_message"
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
    several_files: bool = False
    _system_messages: int = 0
    _unanswered: int = 0
    _unread: Counter[str] = field(default_factory=Counter)
    _no_input: Counter[str] = field(default_factory=Counter)
    _known: dict[tuple[str, ...], tuple[Columns, dict[str, Path]]] = field(default_factory=dict)
    _input_seen: bool = False
    _left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._conditions = Conditions(self.options.keep_where)

    def look(self, names: Iterable[str]) -> None:
        """Take note of the columns that a source has, read or not."""
        self._conditions.look(names)

    @property
    def conditions(self) -> Collection[str]:
        """The columns that `--keep-where` names."""
        return self._conditions.allowed

    def read(self, records: Iterable[tuple[str, Record]], source: str) -> None:
        """Add a row for every (place, record); `place` is what an error about that record begins with."""
        for place, record in records:
            names = tuple(record)
            if names not in self._known:
                columns = self._recognise(names, place, record)
                self._known[names] = columns, travelling(names, (*self.conditions, *self.options.travel))
                self.look(names)
                self._input_seen = self._input_seen or bool(columns.inputs)
            columns, travels = self._known[names]
            columns = columns.of(record, place)
            index = len(self.rows)
            self._left_out.update(name for name in columns.left_out if _has_text(record[name]))
            dialogue: Dialogue | None = None
            try:
                pair, dialogue = self._texts(record, columns, place)
            except NotText as error:
                raise UserError(error.what, explain_nested(columns, error)) from None
            except UnusableRow as unusable:
                self.excluded[index] = (unusable.reason, unusable.detail)
                unread = field_at(record, columns.turns or columns.instruction, place)
                text = unread if isinstance(unread, str) else json.dumps(unread, ensure_ascii=False, default=str)
                pair = text, ""
            extra = labels(record, travels, place)
            refusal = self._conditions.refusal({SOURCE: source, **extra}, record)
            if refusal is not None and index not in self.excluded:
                self.excluded[index] = (NOT_KEPT, refusal)
            if dialogue is not None:
                extra[MESSAGES] = dialogue.as_text()
            self.rows.append(build_row(index, *pair, source=extra.pop(SOURCE, source), extra=extra))

    def _recognise(self, names: tuple[str, ...], place: str, record: Record) -> Columns:
        try:
            return recognise(names, self.named, place, record, self.options.turns != SINGLE)
        except Unrecognised as error:
            before = next((columns for columns, _ in self._known.values()), None)
            step = explain_other(names, before) if before is not None else error.next_step
            if self.several_files:
                step = f"A file without rows has to leave the folder. {step}"
            raise UserError(error.what, step) from None

    def fits(self, record: Record) -> bool:
        """Whether a record has the columns that are read."""
        return fits(record, self.named)

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
        self._unread.update(part._unread)
        self._known |= part._known
        self._input_seen |= part._input_seen
        self._left_out.update(part._left_out)
        self._conditions.take_over(part._conditions)

    def for_part(self, rows: PoolWriter) -> RowReader:
        """Return a reader of another part of the same source, which knows the columns that this one does."""
        known = dict(self._known)
        return RowReader(self.named, self.options, rows, several_files=self.several_files, _known=known)

    def finish(self, where: str) -> list[str]:
        """Check the whole; return notes for people."""
        if not self.rows:
            raise UserError(f"{where} holds no rows.", "Name a source with at least one row.")
        if self.named and "input" in self.named and not self._input_seen:
            raise UserError(f'{where} has no column "{self.named["input"]}".', "Leave input= out of --columns.")
        self._conditions.check(where)
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
        if n := reasons[REJECTED]:
            notes.append(f"{n} rows have an answer that was rejected (label false) and were excluded.")
        for name, n in self._unread.items():
            notes.append(f'{n} messages have "{name}", which is not read.')
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
        if columns.label and str(field_at(record, columns.label, place)).strip().casefold() == "false":
            raise UnusableRow(REJECTED, "label false")
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
        if history := self._history(record, columns, place):
            raise UnusableRow(NOT_SINGLE_TURN, f"a history of {max(1, len(history) // 2)} turns")
        system = self._system(system or self._system_column(record, columns, place))
        return f"{system}\n{question}" if system else question, answer

    def _dialogue(self, record: Record, columns: Columns, place: str) -> Dialogue:
        """The rounds of a record: its messages, or its history and its one question and answer."""
        turns = self._turns(record, columns, place)
        if turns is None:
            history = self._history(record, columns, place)
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

    def _history(self, record: Record, columns: Columns, place: str) -> list[Turn]:
        path = columns.history
        return read_history(field_at(record, path, place), path[-1], place) if path else []

    def _turns(self, record: Record, columns: Columns, place: str) -> list[Turn] | None:
        """The messages of a record; None where its question and answer are plain columns."""
        turns = self._messages(record, columns, place)
        for turn in turns or ():
            self._unread.update(turn.unread)
        return turns

    def _messages(self, record: Record, columns: Columns, place: str) -> list[Turn] | None:
        if columns.turns:
            return read_turns(field_at(record, columns.turns, place), columns.turns[-1], place)
        question, answer = field_at(record, columns.instruction, place), field_at(record, columns.output, place)
        if not are_messages(question) and not has_turns(answer):  # an answer may be text that looks like messages
            return None
        sides = ((question, columns.instruction, USER), (answer, columns.output, ASSISTANT))
        turns: list[Turn] = []
        for value, path, role in sides:
            turns += (
                read_turns(value, path[-1], place)
                if has_turns(value) or (isinstance(question, str) and are_messages(value))
                else [Turn(role, text_at(record, path, place))]
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


def _has_text(value: Any) -> bool:
    return not is_missing(value) and bool(str(value or "").strip())
