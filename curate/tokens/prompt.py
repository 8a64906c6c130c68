"""From an instruction to the prompt a model sees: one function for training, eval loss and generation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from curate.artifact import digest_text
from curate.errors import UserError

SLOT = "{instruction}"
NO_NEWLINE = "{no newline}"  # at the end of a template: the output follows at once
# The day that chat templates print: the one that Llama 3.1's own falls back to.
FROZEN_DAY = datetime(2024, 7, 26)
_DATE_MARK = "ROWPICK-DATE"
_DATE_MACRO = (
    "{%- macro strftime_now(format) -%}" + _DATE_MARK + "{{ format }}" + _DATE_MARK + "{%- endmacro %}{{ '' }}"
)
_MARKER = "ROWPICK-INSTRUCTION"


@dataclass(frozen=True)
class PromptTemplate:
    """A text with `{instruction}` in it exactly once. The raw template is the user's own text and nothing else.

    `notes` are what a reader of the selection must know about the template.
    """

    name: str
    text: str
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def around(self) -> tuple[str, str]:
        """What stands before and behind the instruction; the latter ends with a newline unless the text forbids it."""
        before, _, after = self.text.partition(SLOT)
        return before, after.removesuffix(NO_NEWLINE) if after.endswith(NO_NEWLINE) else f"{after}\n"

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
    if text.count(SLOT) != 1:
        raise UserError(
            f"The prompt template {source} has {SLOT} {text.count(SLOT)} times; it must stand there once.",
            f"Example: ### Task: {SLOT}",
        )
    return PromptTemplate(source.name, text)


def start_ids(tokenizer: Any) -> list[int]:
    """The start token as a list of one id if the tokenizer puts one before a text, else an empty list."""
    bos = tokenizer.bos_token_id
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    return [bos] if bos is not None and ids and ids[0] == bos else []


def chat_template(tokenizer: Any) -> PromptTemplate:
    """The prompt template a chat tokenizer's own template amounts to for one user turn.

    For instruct bases (`--prompt-template chat`). A start token that the tokenizer puts before every text is left to
    it, because it would be doubled. Templates that print today's date are given `FROZEN_DAY` instead: the same pool
    and settings must give the same rows on every day.
    """
    if getattr(tokenizer, "apply_chat_template", None) is None or not getattr(tokenizer, "chat_template", None):
        raise UserError("This tokenizer has no chat template.", "Leave --prompt-template out, or name a file.")
    text, dated = _render_chat(tokenizer)
    notes: tuple[str, ...] = ()
    if dated:
        notes = (
            f"The chat template prints today's date; it is frozen at {FROZEN_DAY:%d %b %Y}, so that the same pool "
            "and settings give the same selection on every day.",
        )
    if start_ids(tokenizer):
        text = text.removeprefix(tokenizer.bos_token)
    if text.count(_MARKER) != 1:
        raise UserError(
            "The chat template does not show the user's text exactly once.", "Name a template file instead."
        )
    text = text.replace(_MARKER, SLOT)
    return PromptTemplate("chat", text.removesuffix("\n") if text.endswith("\n") else text + NO_NEWLINE, notes)


def _render_chat(tokenizer: Any) -> tuple[str, bool]:
    """(the chat template's text for one user turn, whether it prints the date), the date being `FROZEN_DAY`.

    Templates ask for the date by `strftime_now`. In its place they get a macro that marks the format asked for.
    """
    template = tokenizer.get_chat_template()
    dated = "strftime_now" in template
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": _MARKER}], chat_template=_DATE_MACRO + template if dated else template,
        tokenize=False, add_generation_prompt=True,
    )  # fmt: skip
    frozen = re.sub(
        f"{_DATE_MARK}(.*?){_DATE_MARK}", lambda match: FROZEN_DAY.strftime(match[1]), text, flags=re.DOTALL
    )
    return frozen, frozen != text
