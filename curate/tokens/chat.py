"""A tokenizer's chat template as a prompt template: what it writes around one question, and around several rounds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from jinja2 import TemplateError

from curate.errors import UserError
from curate.pool.dialogue import Dialogue
from curate.pool.read_options import ALL, SINGLE
from curate.tokens.prompt import (
    ANSWER,
    CONTEXT_ANSWER,
    DROPPED_THINKING,
    EVERY_SLOT,
    NO_NEWLINE,
    SLOT,
    SYSTEM_SLOT,
    WITH_SYSTEM,
    WITHOUT_SYSTEM,
    PromptTemplate,
    start_ids,
)

# The day that chat templates print: the one that Llama 3.1's own falls back to.
FROZEN_DAY = datetime(2024, 7, 26)
_DATE_MARK = "ROWPICK-DATE"
_DATE_MACRO = (
    "{%- macro strftime_now(format) -%}" + _DATE_MARK + "{{ format }}" + _DATE_MARK + "{%- endmacro %}{{ '' }}"
)
_MARKER = "ROWPICK-INSTRUCTION"
_SYSTEM, _THOUGHT = "ROWPICK-SYSTEM", "ROWPICK-THOUGHT"
_THINKING = f"<think>\n{_THOUGHT}\n</think>\n\n"
_ROUNDS = 3  # rounds that are tried
_SYSTEM_NOTE = (
    "The chat template writes a system message in the last question; one that is kept stands before the first, where "
    "it begins every prompt of the conversation."
)
_BLANK_NOTE = "The chat template puts white space before answers; it is left out: no prompt for a generation has it."


def chat_template(tokenizer: Any, turns: str = SINGLE) -> PromptTemplate:
    """The prompt template a chat tokenizer's own template amounts to: for one user turn, or for conversations.

    For instruct bases (`--prompt-template chat`). A start token that the tokenizer puts before every text is left to
    it, because it would be doubled. Templates that print today's date are given `FROZEN_DAY` instead: the same pool
    and settings must give the same rows on every day.
    """
    if getattr(tokenizer, "apply_chat_template", None) is None or not getattr(tokenizer, "chat_template", None):
        raise UserError("This tokenizer has no chat template.", "Leave --prompt-template out, or name a file.")
    chat = _Chat(tokenizer)
    text = chat.render(_messages([_MARKER]))
    notes: tuple[str, ...] = ()
    if chat.dated:
        notes = (
            f"The chat template prints today's date; it is frozen at {FROZEN_DAY:%d %b %Y}, so that the same pool "
            "and settings give the same selection on every day.",
        )
    if text.count(_MARKER) != 1:
        raise UserError(
            "The chat template does not show the user's text exactly once.", "Name a template file instead."
        )
    if turns != SINGLE:
        text, more = _of_turns(chat, turns)
        notes += more
    else:
        text = text.replace(_MARKER, SLOT)
    return PromptTemplate("chat", text.removesuffix("\n") if text.endswith("\n") else text + NO_NEWLINE, notes)


@dataclass
class _Chat:
    """Renders messages by a tokenizer's chat template; `dated` says whether it has printed the date."""

    tokenizer: Any
    dated: bool = False

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text for messages, without the start token that the tokenizer puts before every text.

        Templates ask for the date by `strftime_now`. In its place they get a macro that marks the format asked for.
        """
        template = self.tokenizer.get_chat_template()
        asks = "strftime_now" in template
        text: str = self.tokenizer.apply_chat_template(
            list(messages), chat_template=_DATE_MACRO + template if asks else template,
            tokenize=False, add_generation_prompt=messages[-1]["role"] != "assistant",
        )  # fmt: skip
        frozen = re.sub(
            f"{_DATE_MARK}(.*?){_DATE_MARK}", lambda match: FROZEN_DAY.strftime(match[1]), text, flags=re.DOTALL
        )
        self.dated = self.dated or frozen != text
        return frozen.removeprefix(self.tokenizer.bos_token) if start_ids(self.tokenizer) else frozen

    def try_render(self, messages: Sequence[Mapping[str, str]]) -> str | None:
        """The text for messages; None where the template refuses them."""
        try:
            return self.render(messages)
        except TemplateError:
            return None


def _question(number: int) -> str:
    return f"{_MARKER}-{number}-"


def _answer(number: int) -> str:
    return f"ROWPICK-ANSWER-{number}-"


def _messages(questions: Sequence[str], answers: Sequence[str] = (), system: str = "") -> list[dict[str, str]]:
    """Rounds as messages: with as many answers as questions they end with an answer, with one fewer with a question."""
    answers = [*answers, ""][: len(questions)]
    messages = Dialogue(tuple(zip(questions, answers, strict=True)), system).as_messages()
    return messages if answers[-1] else messages[:-1]


def _rounds(n_questions: int, n_answers: int, system: str = "", thinking: str = "") -> list[dict[str, str]]:
    answers = [thinking + _answer(number) for number in range(n_answers)]
    return _messages([_question(number) for number in range(n_questions)], answers, system)


def _of_turns(chat: _Chat, turns: str) -> tuple[str, tuple[str, ...]]:
    """(the template's text for conversations, notes).

    Read off a rendering of two rounds, and held against renderings of up to three with and without a system message:
    a template that writes rounds in other ways, such as with numbers, is refused.
    """
    two = chat.try_render(_rounds(2, 1))
    before, answer, join, prompt = _between(two, [_question(0), _answer(0), _question(1)])
    opening = ""
    elsewhere = False
    with_system = chat.try_render(_rounds(2, 1, _SYSTEM))
    if with_system is not None and with_system.count(_SYSTEM) == 1:
        elsewhere = with_system.index(_SYSTEM) > with_system.index(_question(0))
    if with_system is not None and with_system.count(_SYSTEM) == 1 and not elsewhere:
        first, second, *_ = _between(with_system, [_SYSTEM, _question(0), _answer(0), _question(1)])
        opening = f"{WITH_SYSTEM}{first}{SYSTEM_SLOT}{second}{WITHOUT_SYSTEM}"
    thought = chat.try_render(_rounds(2, 1, thinking=_THINKING)) or ""
    drops = _THOUGHT not in thought
    slot = ANSWER if turns == ALL else DROPPED_THINKING if drops else CONTEXT_ANSWER
    if any(each in f"{before}{answer}{join}{prompt}" for each in EVERY_SLOT):
        raise UserError("The chat template spells a slot of prompt templates.", "Name a template file instead.")
    for n in range(1, _ROUNDS + 1):
        middle = "".join(f"{_question(i)}{answer}{_answer(i)}{join}" for i in range(n - 1))
        if chat.try_render(_rounds(n, n - 1)) != f"{before}{middle}{_question(n - 1)}{prompt}":
            raise _no_fixed_text()
    notes: tuple[str, ...] = (
        ("The chat template drops the thinking of earlier answers; so do these rows.",) if drops else ()
    )
    notes += (_SYSTEM_NOTE,) if elsewhere else ()
    if turns == ALL:
        _refuse_other_beginnings(chat, drops or answer.rstrip() != prompt.rstrip())
        notes += (_BLANK_NOTE,) if answer != prompt else ()
        answer = prompt
    return f"{opening}{before}{SLOT}{answer}{slot}{join}{SLOT}{prompt}", notes


def _between(text: str | None, markers: Sequence[str]) -> list[str]:
    """What stands before, between and behind the markers, each of which must stand in the text once, in this order."""
    parts: list[str] = []
    rest = text or ""
    for marker in markers:
        part, found, rest = rest.partition(marker)
        if not found or marker in rest:
            raise _no_fixed_text()
        parts.append(part)
    return [*parts, rest]


def _refuse_other_beginnings(chat: _Chat, drops_thinking: bool) -> None:
    """Raise where rounds 1 to n do not begin rounds 1 to n + 1: no text has every answer as it is asked for."""
    for thinking in ("", _THINKING):
        texts = [chat.try_render(_rounds(n, n, thinking=thinking)) or "" for n in range(1, _ROUNDS + 1)]
        prompts = [chat.try_render(_rounds(n, n - 1, thinking=thinking)) or "" for n in range(1, _ROUNDS + 1)]
        pairs = [*pairwise(texts), *zip(prompts, texts, strict=True)]
        if drops_thinking or any(not longer.startswith(shorter) for shorter, longer in pairs):
            why = ", since it drops the thinking of earlier answers" if drops_thinking else ""
            raise UserError(
                f"The chat template writes a conversation in another way when it goes on{why}: no one text has every "
                "answer behind the prompt that it answers, so --turns all cannot be rendered.",
                "Use --turns last, or name a template file: --prompt-template FILE",
            )


def _no_fixed_text() -> UserError:
    return UserError(
        "The chat template does not write every round of a conversation in the same way.",
        "Name a template file instead: --prompt-template FILE",
    )
