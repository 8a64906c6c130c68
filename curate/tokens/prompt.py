"""From an instruction to the prompt a model sees: one function for training, eval loss and generation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.artifact import digest_text
from curate.errors import UserError
from curate.pool.read_options import ALL, SINGLE

SLOT = "{instruction}"
NO_NEWLINE = "{no newline}"  # at the end of a template: the output follows at once
# A template of conversations shows two rounds, and may begin with how a system message is written:
# {with system}...{system}...{without system}...{instruction}...{answer}...{instruction}...
ANSWER = "{answer}"
CONTEXT_ANSWER = "{earlier answer}"  # the same, without loss
DROPPED_THINKING = "{earlier answer without thinking}"
ANSWER_SLOTS = (ANSWER, CONTEXT_ANSWER, DROPPED_THINKING)
WITH_SYSTEM, SYSTEM_SLOT, WITHOUT_SYSTEM = "{with system}", "{system}", "{without system}"
# What templates of other tools fill in; here it would be text.
_NEVER_FILLED = (
    ANSWER, SYSTEM_SLOT, "{input}", "{output}", "{response}", "{completion}", "{context}", "{question}", "{prompt}",
    "{history}",
)  # fmt: skip
EVERY_SLOT = (SLOT, *ANSWER_SLOTS, WITH_SYSTEM, SYSTEM_SLOT, WITHOUT_SYSTEM, NO_NEWLINE)


@dataclass(frozen=True)
class TurnTexts:
    """How a template writes a conversation of several rounds.

    `system` stands before a system message and between it and the first question; None where the message is put before
    the question. `answer` stands between an earlier question and its answer, `join` between that answer and the next
    question; `slot` says what becomes of earlier answers.
    """

    system: tuple[str, str] | None
    answer: str
    join: str
    slot: str


@dataclass(frozen=True)
class PromptTemplate:
    """A text with `{instruction}` in it. The raw template is the user's own text and nothing else.

    One for conversations shows two rounds: the first, `{answer}`, and the next. `notes` are what a reader of the
    selection must know about the template.
    """

    name: str
    text: str
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def around(self) -> tuple[str, str]:
        """What stands before and behind a question; the latter ends with a newline unless the text forbids it."""
        _, _, rounds = self.text.rpartition(WITHOUT_SYSTEM)
        before, _, rest = rounds.partition(SLOT)
        after = rest.rpartition(SLOT)[2]
        return before, after.removesuffix(NO_NEWLINE) if after.endswith(NO_NEWLINE) else f"{after}\n"

    @cached_property
    def turns(self) -> TurnTexts | None:
        """How earlier rounds are written; None where the template is for single questions."""
        slot = next((slot for slot in ANSWER_SLOTS if slot in self.text), None)
        if slot is None or self.text.count(SLOT) != 2:
            return None
        head, _, rounds = self.text.rpartition(WITHOUT_SYSTEM)
        opening, _, between = head.removeprefix(WITH_SYSTEM).partition(SYSTEM_SLOT)
        answer, _, join = rounds.partition(SLOT)[2].rpartition(SLOT)[0].partition(slot)
        return TurnTexts((opening, between) if head else None, answer, join, slot)

    def for_turns(self, turns: str) -> PromptTemplate:
        """This template for conversations, or, with "single", as it is.

        Where it shows one round, every round is written by it. "all" has loss on every answer, "last" on the last.
        """
        if turns == SINGLE:
            return self
        slot = ANSWER if turns == ALL else CONTEXT_ANSWER
        if self.turns is not None:
            if turns == ALL and self.turns.answer != self.around[1]:
                raise UserError(
                    f"The prompt template {self.name} has {self.turns.answer!r} before {ANSWER} and {self.around[1]!r} "
                    "at its end: with --turns all every answer follows the same text.",
                    "Make the two the same."
                    if "\n" in self.turns.answer
                    else f'End the file with "{self.turns.answer}{NO_NEWLINE}".',
                )
            return replace(self, text=self.text.replace(ANSWER, slot))
        before, after = self.around
        _, _, ending = self.text.rpartition(SLOT)
        return replace(self, text=f"{before}{SLOT}{after}{slot}{before}{SLOT}{ending}")

    def render(self, instruction: str) -> str:
        """The prompt, ending with exactly one newline more than the template and the instruction have."""
        before, after = self.around
        return f"{before}{instruction}{after}"

    @property
    def digest(self) -> str:
        """Digest of the text: two templates with equal text are the same template, whatever they are called."""
        return digest_text(self.text)


RAW = PromptTemplate("raw", SLOT)


def load_prompt_template(path: str | Path | None) -> PromptTemplate:
    """The template in a file, or `RAW` for None.

    One trailing newline is dropped, since `render` adds it. A byte order mark and Windows' line ends are the editor's,
    not the template's.
    """
    if path is None:
        return RAW
    source = Path(path)
    try:
        text = source.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except OSError as error:
        raise UserError(f"Could not read the prompt template {source}: {error.strerror}.", "Check the path.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"The prompt template {source} is not UTF-8 (byte {error.start}).", "Save it as UTF-8."
        ) from None
    two_rounds = text.count(SLOT) == 2 and text.count(ANSWER) == 1
    if text.count(SLOT) != 1 and not (two_rounds and text.index(SLOT) < text.index(ANSWER) < text.rindex(SLOT)):
        raise UserError(
            f"The prompt template {source} has {SLOT} {text.count(SLOT)} times; it must stand there once.",
            f"Example: ### Task: {SLOT}; of two rounds: Q: {SLOT} A:{ANSWER} Q: {SLOT} A:{NO_NEWLINE}",
        )
    filled = ((ANSWER,) if two_rounds else ()) + ((SYSTEM_SLOT,) if WITH_SYSTEM in text else ())
    unfilled = next((name for name in _NEVER_FILLED if name in text and name not in filled), None)
    if unfilled is not None:
        raise UserError(
            f"The prompt template {source} has {unfilled}, which nothing is put in: it would stand in every prompt.",
            f"Leave it out: {SLOT} is the question with its input or context, and the answer follows the template.",
        )
    return PromptTemplate(source.name, text)


def start_ids(tokenizer: Any) -> list[int]:
    """The start token as a list of one id if the tokenizer puts one before a text, else an empty list."""
    bos = tokenizer.bos_token_id
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    return [bos] if bos is not None and ids and ids[0] == bos else []
