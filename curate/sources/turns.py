"""Conversations: messages under the names that people give them, and the question and answer in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.artifact.json_text import parse_json
from curate.errors import UserError
from curate.sources.fields import UnusableRow, is_missing, is_objects, text_of

NOT_SINGLE_TURN = "not_single_turn"
USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
# ShareGPT, OpenAssistant and others name the same three speakers in their own way.
_SPEAKERS = {
    "human": USER, "prompter": USER, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "bot": ASSISTANT, "model": ASSISTANT,
    "ai": ASSISTANT, "developer": SYSTEM,
}  # fmt: skip
_ROLE, _CONTENT = ("role", "from"), ("content", "value", "text")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message: who speaks (user, assistant, system, or the source's own word, such as tool) and the text."""

    role: str
    text: str


def has_turns(value: Any) -> bool:
    """Whether a value is a list of messages: objects that say who speaks."""
    return is_objects(value) and all(any(name in message for name in _ROLE) for message in value)


def read_turns(value: Any, name: str, place: str) -> list[Turn]:
    """The messages in a field: a list of objects, or, as CSV has it, that list as JSON text."""
    if is_missing(value):
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _from_text(value, name, place)
    if value == []:
        return []
    if not has_turns(value):
        raise UserError(
            f'{place}: the field "{name}" is not a list of messages.',
            "Correct that row, or say which columns to use with --columns.",
        )
    return [_turn(message, name, place) for message in value]


def _from_text(text: str, name: str, place: str) -> Any:
    try:
        parsed = parse_json(text, strict=False)
    except (ValueError, RecursionError):
        raise UserError(
            f'{place}: the field "{name}" holds messages as text that is not JSON.',
            'Write the file as JSON lines, for example df.to_json("rows.jsonl", orient="records", lines=True).',
        ) from None
    if parsed.repeated:
        raise UserError(
            f'{place}: in the field "{name}" the key "{parsed.repeated[0][0]}" stands twice in one object.',
            "Correct that row.",
        )
    return parsed.value


def _turn(message: Mapping[str, Any], name: str, place: str) -> Turn:
    role = str(next(message[key] for key in _ROLE if key in message)).strip().lower()
    content = next((key for key in _CONTENT if key in message), _CONTENT[0])
    return Turn(_SPEAKERS.get(role, role), text_of(message.get(content), content, place))


def single_turn(turns: Sequence[Turn]) -> tuple[str, str, str]:
    """(question, answer, system message or "") of one user and one assistant message; others are unusable."""
    spoken = [turn for turn in turns if turn.role != SYSTEM]
    roles = [turn.role for turn in spoken]
    if roles != [USER, ASSISTANT]:
        detail = ", ".join(roles[:6]) + (f", ... ({len(roles)} messages)" if len(roles) > 6 else "")
        raise UnusableRow(NOT_SINGLE_TURN, detail or "no messages")
    return spoken[0].text, spoken[1].text, "\n".join(turn.text for turn in turns if turn.role == SYSTEM)
