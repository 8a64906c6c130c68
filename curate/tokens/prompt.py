"""From an instruction to the prompt a model sees: one function for training, eval loss and generation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.artifact import digest_text
from curate.errors import UserError

SLOT = "{instruction}"


@dataclass(frozen=True)
class PromptTemplate:
    """A text with `{instruction}` in it exactly once. The raw template is the user's own text and nothing else."""

    name: str
    text: str

    def render(self, instruction: str) -> str:
        """The prompt, ending with exactly one newline more than the template and the instruction have."""
        before, _, after = self.text.partition(SLOT)
        return f"{before}{instruction}{after}\n"

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


def chat_template(tokenizer: object) -> PromptTemplate:
    """The prompt template a chat tokenizer's own template amounts to for one user turn.

    For instruct bases (`--prompt-template chat`). The start token is left to the
    tokenizer, because it would be doubled.
    """
    apply = getattr(tokenizer, "apply_chat_template", None)
    if apply is None or not getattr(tokenizer, "chat_template", None):
        raise UserError("This tokenizer has no chat template.", "Leave --prompt-template out, or name a file.")
    marker = "ROWPICK-INSTRUCTION"
    text: str = apply([{"role": "user", "content": marker}], tokenize=False, add_generation_prompt=True)
    bos = getattr(tokenizer, "bos_token", None)
    if bos and text.startswith(bos):
        text = text[len(bos) :]
    if text.count(marker) != 1:
        raise UserError(
            "The chat template does not show the user's text exactly once.", "Name a template file instead."
        )
    return PromptTemplate("chat", text.replace(marker, SLOT).removesuffix("\n"))
