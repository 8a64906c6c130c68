"""A conversation of one row: its rounds of question and answer, and how it travels with the row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MESSAGES = "messages"  # the travelling column that holds a conversation, as JSON text
USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


class HasTexts(Protocol):
    """What a row of the pool and a row of a selection have in common."""

    @property
    def instruction(self) -> str:
        """The question, or the dialogue before the last answer."""

    @property
    def output(self) -> str:
        """The (last) answer."""

    @property
    def extra(self) -> Mapping[str, str | None]:
        """The columns that travel with the row."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Rounds of (question, answer), and the system message before them, "" where there is none."""

    rounds: tuple[tuple[str, str], ...]
    system: str = ""

    @property
    def instruction(self) -> str:
        """All that stands before the last answer as one text, for embedding, comparing and reading.

        Of one round it is what a single-turn row has: the system message, a newline and the question.
        """
        *earlier, (last, _) = self.rounds
        texts = [*(text for both in earlier for text in both), last]
        spoken = "\n\n".join(texts)
        return f"{self.system}\n{spoken}" if self.system else spoken

    @property
    def output(self) -> str:
        """The last answer."""
        return self.rounds[-1][1]

    def as_messages(self) -> list[dict[str, str]]:
        """The conversation as chat templates take it."""
        messages = [{"role": SYSTEM, "content": self.system}] if self.system else []
        for question, answer in self.rounds:
            messages += [{"role": USER, "content": question}, {"role": ASSISTANT, "content": answer}]
        return messages

    def as_text(self) -> str:
        """The messages as JSON text, as they travel in a row's `messages`."""
        return messages_text(self.as_messages())

    @staticmethod
    def from_text(text: str) -> Dialogue:
        """The dialogue that `as_text` wrote."""
        messages = json.loads(text)
        system = messages.pop(0)["content"] if messages[0]["role"] == SYSTEM else ""
        spoken = [message["content"] for message in messages]
        return Dialogue(tuple(zip(spoken[::2], spoken[1::2], strict=True)), system)


def messages_text(messages: Any) -> str:
    """Messages as the one JSON text that equal messages have."""
    return json.dumps(messages, ensure_ascii=False)


def texts_of(row: HasTexts) -> tuple[str, str] | Dialogue:
    """What of a row is rendered: its conversation where one travels with it, else instruction and output."""
    messages = row.extra.get(MESSAGES)
    return Dialogue.from_text(messages) if messages else (row.instruction, row.output)


def prompt_of(row: HasTexts) -> str | Dialogue:
    """What of a row an answer is written to: its conversation where one travels with it, else the instruction."""
    texts = texts_of(row)
    return texts if isinstance(texts, Dialogue) else texts[0]
