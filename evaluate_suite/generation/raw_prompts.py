"""Prompts as people type them: the packaged set, and files of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.code.languages import canonical_language, languages
from curate.errors import UserError, did_you_mean
from curate.pool.dialogue import Dialogue
from curate.sources.numbered_rows import read_numbered_rows
from curate.sources.turns import read_question

PACKAGED = "raw_prompts.jsonl"
FIELDS = {"prompt_id", "prompt", "messages", "language", "tags", "reference"}


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """A prompt, the language it asks for (a name from `curate.code.languages`, or None), and tags to group by.

    `dialogue` is the conversation that it ends, where it is one; `prompt` then is its text.
    """

    prompt_id: str
    prompt: str
    language: str | None = None
    tags: tuple[str, ...] = ()
    reference: str | None = None
    dialogue: Dialogue | None = None

    @property
    def asked(self) -> str | Dialogue:
        """What is rendered."""
        return self.prompt if self.dialogue is None else self.dialogue


def load_raw_prompts(path: str | Path | None = None) -> list[RawPrompt]:
    """The prompts of a JSONL file (`prompt`, optional `prompt_id`, `language`, `tags`, `reference`), in file order.

    In the place of `prompt` may stand `messages`, a conversation that ends with a question.
    None gives the packaged set. A line without `prompt_id` gets `prompt-<its line number>`.
    """
    source = Path(__file__).parent / PACKAGED if path is None else Path(path)
    numbered = read_numbered_rows(source)
    prompts = [_prompt(row, f"{source}:{number}", number) for number, row in numbered]
    if not prompts:
        raise UserError(f"{source} holds no prompts.", 'Write one JSON object a line: {"prompt": "..."}.')
    seen: dict[str, int] = {}
    for (number, _), prompt in zip(numbered, prompts, strict=True):
        if prompt.prompt_id in seen:
            raise UserError(
                f'{source}:{number}: prompt_id "{prompt.prompt_id}" already stands on line {seen[prompt.prompt_id]}.',
                "Give every prompt its own prompt_id.",
            )
        seen[prompt.prompt_id] = number
    return prompts


def _prompt(row: dict[str, Any], where: str, number: int) -> RawPrompt:
    for name in row:
        if name not in FIELDS:
            raise UserError(f'{where}: unknown field "{name}".', did_you_mean(name, FIELDS))
    dialogue = None if row.get("messages") is None else read_question(row["messages"], "messages", where)
    prompt = row.get("prompt") if dialogue is None else dialogue.instruction
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError(f"{where}: the field prompt is missing, empty or not text.", 'Example: {"prompt": "fizzbuzz"}')
    for name in ("prompt_id", "language", "reference"):
        if row.get(name) is not None and not isinstance(row[name], str):
            raise UserError(f"{where}: the field {name} is not text.", "Put it in quotes, or leave it out.")
    tags = row.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UserError(f"{where}: the field tags is not a list of texts.", 'Example: "tags": ["short"]')
    language = row.get("language")
    if language is not None and canonical_language(language) is None:
        raise UserError(f'{where}: unknown language "{language}".', did_you_mean(language, [*languages(), "null"]))
    return RawPrompt(
        row.get("prompt_id") or f"prompt-{number}",
        prompt,
        canonical_language(language),
        tuple(tags),
        row.get("reference"),
        dialogue,
    )
