"""Conversations as ids, under the text law: every answer continues the prompt before it, and is continued in turn.

An answer is a piece of its own: nothing is merged across its borders, so that the ids before any answer are those a
generation of it starts from, and the ids of rounds 1 to n begin those of rounds 1 to n + 1. Behind every answer the
model is to stop: what ends an answer is the template's text up to its first control token or, where it spells none, the
tokenizer's end token. The last answer ends with the end token whatever the template writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from curate.pool.dialogue import Dialogue
from curate.tokens.prompt import ANSWER, DROPPED_THINKING, PromptTemplate, TurnTexts
from curate.tokens.text_rule import TextRule

_THINKING = re.compile(r".*</think>\s*", re.DOTALL)
Span = tuple[int, int]


@dataclass
class _Piece:
    """A control token, or a text with nothing merged across its borders; `before` is the text it continues."""

    control: int | None = None
    text: str = ""
    before: str = ""
    is_first: bool = False


@dataclass
class _Pieces:
    """The pieces of one conversation, and the places of those that an answer and its end are made of."""

    rule: TextRule
    pieces: list[_Piece] = field(default_factory=list)
    answers: list[Span] = field(default_factory=list)
    _open: str = ""
    _since_control: str = ""

    def write(self, text: str) -> None:
        """Add a row's own text to the piece that is open: control spellings in it are text."""
        self._open += text

    def write_template(self, text: str) -> None:
        """Add a template's text: control spellings in it are control tokens."""
        for part in self.rule.controls.cut(text):
            if isinstance(part, int):
                self.control(part)
            else:
                self.write(part)

    def control(self, token_id: int) -> None:
        """Add a control token; some swallow the white space beside them."""
        if token_id in self.rule.controls.strip_left:
            self._open = self._open.rstrip()
        self.close()
        self.pieces.append(_Piece(control=token_id))
        self._since_control = ""

    def close(self) -> None:
        """End the piece that is open."""
        last = self.pieces[-1].control if self.pieces else None
        if last in self.rule.controls.strip_right:
            self._open = self._open.lstrip()
        if self._open:
            self.pieces.append(_Piece(None, self._open, self._since_control, not self.pieces))
            self._since_control += self._open
        self._open = ""

    def answer(self, text: str, ending: Sequence[int | str]) -> None:
        """Add an answer and what ends it."""
        self.close()
        start = len(self.pieces)
        if text:
            self.pieces.append(_Piece(None, text, self._since_control, not self.pieces))
            self._since_control += text
        for part in ending:
            if isinstance(part, int):
                self.control(part)
            else:
                self.write(part)
        self.answers.append((start, len(self.pieces)))


@dataclass(frozen=True)
class _Ending:
    """What ends an answer, and what of the template's text then stands before the next question."""

    earlier: list[int | str]
    last: list[int | str]
    rest: str


def _ending(rule: TextRule, end_id: int, template: PromptTemplate, texts: TurnTexts) -> _Ending:
    """The template's text behind an answer, cut behind its first control token.

    White space before that token is kept in what is only read, and left out where the model is to write it: behind a
    single question's answer there is none. A token that opens the next question, and no end, ends nothing.
    """
    parts = rule.controls.cut(texts.join)
    places = [place for place, part in enumerate(parts) if isinstance(part, int)]
    if not places:
        return _Ending([end_id], [end_id], texts.join)
    at = places[0]
    blank, control = "".join(map(str, parts[:at])), parts[at]
    rest = texts.join[len(blank) + len(rule.controls.spelling[int(control)]) :]
    opening = rule.controls.spelling[int(control)] + rest
    if control != end_id and len(places) == 1 and template.around[0].endswith(opening):
        return _Ending([end_id], [end_id], texts.join)
    end = [*([blank] if blank.strip() else []), control]
    read = [blank, control] if texts.slot != ANSWER else end
    return _Ending(read, end if control == end_id else [*end, end_id], rest)


def encode_dialogues(
    rule: TextRule, end_id: int, template: PromptTemplate, dialogues: Sequence[Dialogue]
) -> list[tuple[list[int], int, list[Span]]]:
    """(ids, where the last answer begins, spans of the earlier answers that carry loss) of every conversation."""
    if template.turns is None:
        raise ValueError(f"the template {template.name} is for single questions")
    ending = _ending(rule, end_id, template, template.turns)
    cut = [_cut(rule, template, template.turns, ending, dialogue) for dialogue in dialogues]
    encoded = _encode(rule, [each.pieces for each in cut])
    examples = []
    for each, sections in zip(cut, encoded, strict=True):
        starts = list(accumulate(map(len, sections), initial=len(rule.start)))
        ids = [*rule.start, *(token for section in sections for token in section)]
        *earlier, (start, _) = [(starts[first], starts[end]) for first, end in each.answers]
        examples.append((ids, start, earlier if template.turns.slot == ANSWER else []))
    return examples


def _cut(rule: TextRule, template: PromptTemplate, texts: TurnTexts, ending: _Ending, dialogue: Dialogue) -> _Pieces:
    pieces = _Pieces(rule)
    before, prompt = template.around
    system = dialogue.system
    if system and texts.system is not None:
        pieces.write_template(texts.system[0])
        pieces.write(system)
        before, system = texts.system[1], ""
    pieces.write_template(before)
    if system:
        pieces.write(f"{system}\n")
    *earlier, (question, answer) = dialogue.rounds
    for each, its_answer in earlier:
        pieces.write(each)
        pieces.write_template(texts.answer)
        if texts.slot == DROPPED_THINKING:
            its_answer = _THINKING.sub("", its_answer)
        pieces.answer(its_answer, ending.earlier)
        pieces.write_template(ending.rest)
    pieces.write(question)
    pieces.write_template(prompt)
    pieces.answer(answer, ending.last)
    return pieces


def _encode(rule: TextRule, rows: Sequence[Sequence[_Piece]]) -> list[list[list[int]]]:
    """The ids of every piece, row by row; texts of all rows are encoded together."""
    pieces = [piece for row in rows for piece in row]
    ids: dict[int, list[int]] = {}
    for encode, wanted in ((rule.begin, True), (rule.resume, False)):
        texts = [piece for piece in pieces if piece.control is None and piece.is_first is wanted]
        ids |= dict(zip(map(id, texts), encode([piece.text for piece in texts]), strict=True))
    for piece in pieces if not rule.exact else []:
        if piece.before:
            ids[id(piece)] = rule.encode_outputs([piece.before], [piece.text])[0]
    return [[[piece.control] if piece.control is not None else ids[id(piece)] for piece in row] for row in rows]
