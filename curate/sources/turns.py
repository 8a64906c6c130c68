"""Conversations: messages under the names that people give them, and the question and answer in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.artifact.json_text import parse_json
from curate.errors import UserError
from curate.pool.dialogue import ASSISTANT, SYSTEM, USER, Dialogue
from curate.sources.fields import UnusableRow, is_blank, is_missing, is_objects, text_of

NOT_SINGLE_TURN = "not_single_turn"
NOT_ALTERNATING = "turns_do_not_alternate"
EMPTY_TURN = "empty_turn"
# ShareGPT, OpenAssistant and others name the same three speakers in their own way.
_SPEAKERS = {
    "human": USER, "prompter": USER, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "bot": ASSISTANT, "model": ASSISTANT,
    "ai": ASSISTANT, "developer": SYSTEM,
}  # fmt: skip
_KNOWN = (USER, ASSISTANT, SYSTEM)
_ROLE, _CONTENT = ("role", "from", "speaker"), ("content", "value", "text", "parts")
_UNREAD, _WEIGHT = ("reasoning_content", "reasoning", "thinking", "tool_calls", "function_call"), "weight"
# Messages as the text that CSV has of them, as JSON or as Python writes them: who speaks, and what.
_AS_TEXT = re.compile(
    r"\s*\[\s*\{(?=.*?['\"](?:role|from|speaker)['\"]\s*:)(?=.*?['\"](?:content|value|text|parts)['\"]\s*:)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message: who speaks (user, assistant, system, or the source's own word, such as tool) and the text.

    `unread` are names of what else the message has that would matter.
    """

    role: str
    text: str
    unread: tuple[str, ...] = ()


def has_turns(value: Any) -> bool:
    """Whether a value is a list of messages: objects that say who speaks."""
    return is_objects(value) and all(any(name in message for name in _ROLE) for message in value)


def are_messages(value: Any) -> bool:
    """Whether a value is a list of messages, or the text of one, as it stands in a cell of a CSV file."""
    return _AS_TEXT.match(value) is not None if isinstance(value, str) else has_turns(value)


def read_turns(value: Any, name: str, place: str) -> list[Turn]:
    """The messages in a field: a list of objects, or, as CSV has it, that list as JSON text."""
    if is_missing(value):
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _from_text(value, name, place)
    if value == []:
        return []
    if isinstance(value, list) and all(isinstance(text, str) for text in value):  # LIMA: speakers take turns unnamed
        return [Turn((USER, ASSISTANT)[place % 2], text) for place, text in enumerate(value)]
    if is_objects(value) and all(_SPEAKERS.get(name, name) in _KNOWN for message in value for name in message):
        return [
            Turn(_SPEAKERS.get(name, name), text_of(text, name, place))
            for message in value
            for name, text in message.items()
        ]
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
    unread = tuple(each for each in _UNREAD if message.get(each))
    if _SPEAKERS.get(role, role) == ASSISTANT and message.get(_WEIGHT) == 0:  # OpenAI's: no loss on this answer
        unread += (f"{_WEIGHT} 0",)
    return Turn(_SPEAKERS.get(role, role), text_of(message.get(content), content, place), unread)


def read_history(value: Any, name: str, place: str) -> list[Turn]:
    """The messages of a `history`, as LLaMA-Factory has it: pairs of question and answer, or their JSON text."""
    if is_blank(value):
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _from_text(value, name, place)
    if value == [] or has_turns(value):
        return read_turns(value, name, place)
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise UserError(
            f'{place}: the field "{name}" is not a list of questions and answers.',
            'Write it as [["question", "answer"], ...], or leave it out.',
        )
    return [
        Turn(role, text_of(text, name, place))
        for pair in value
        for role, text in zip((USER, ASSISTANT), pair, strict=True)
    ]


def single_turn(turns: Sequence[Turn]) -> tuple[str, str, str]:
    """(question, answer, system message or "") of one user and one assistant message; others are unusable."""
    spoken = [turn for turn in turns if turn.role != SYSTEM]
    if [turn.role for turn in spoken] != [USER, ASSISTANT]:
        raise UnusableRow(NOT_SINGLE_TURN, _roles(spoken))
    return spoken[0].text, spoken[1].text, _system(turns)


def read_dialogue(turns: Sequence[Turn]) -> Dialogue:
    """The rounds of a conversation in which user and assistant take turns, and its system message.

    Questions that nobody answers any more are left out. Any other order of roles, tools among them, and a message
    without text make a row unusable; so does a system message in the middle.
    """
    n_system = next((place for place, turn in enumerate(turns) if turn.role != SYSTEM), len(turns))
    spoken = list(turns[n_system:])
    while spoken and spoken[-1].role == USER:
        spoken.pop()
    roles = [turn.role for turn in spoken]
    if not roles or roles != [USER, ASSISTANT] * (len(roles) // 2):
        raise UnusableRow(NOT_ALTERNATING, _roles(turns[n_system:]))
    empty = next((place for place, turn in enumerate(spoken[:-1], start=1) if not turn.text.strip()), None)
    if empty is not None and len(spoken) > 2:  # an empty single question or answer is for the cleaning check
        raise UnusableRow(EMPTY_TURN, f"message {empty} of {len(spoken)}")
    texts = [turn.text for turn in spoken]
    return Dialogue(tuple(zip(texts[::2], texts[1::2], strict=True)), _system(turns))


def read_question(value: Any, name: str, place: str) -> Dialogue:
    """A conversation that ends with a question, as a dialogue whose last answer is empty."""
    turns = read_turns(value, name, place)
    try:
        return read_dialogue([*turns, Turn(ASSISTANT, "")])
    except UnusableRow as unusable:
        raise UserError(
            f'{place}: the field "{name}" is no conversation that ends with a question ({unusable.detail}).',
            "Let user and assistant take turns, the user first and last.",
        ) from None


def _system(turns: Sequence[Turn]) -> str:
    return "\n".join(turn.text for turn in turns if turn.role == SYSTEM)


def _roles(turns: Sequence[Turn]) -> str:
    roles = [turn.role for turn in turns]
    return ", ".join(roles[:6]) + (f", ... ({len(roles)} messages)" if len(roles) > 6 else "") or "no messages"
