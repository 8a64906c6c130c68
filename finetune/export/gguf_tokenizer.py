"""A tokenizer as the metadata of a GGUF file: byte-level BPE, and SentencePiece's BPE as Llama 2 has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gguf import GGUFWriter, TokenType

from curate.errors import UserError
from curate.tokens.prompt import start_ids

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_NEVER = -1e9  # the score of a piece that no merge makes
_DIGITS = {"type": "Digits", "individual_digits": True}
# fmt: off
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# fmt: on
# Which of llama.cpp's ways of splitting a text before merging (`tokenizer.ggml.pre`) a splitting pattern is.
_SPLITS = {_LLAMA3: "llama-bpe", _LLAMA3.replace("{1,3}", ""): "qwen2"}
_ADVICE = "Use the merged model with transformers or vLLM: finetune merge"


def add_tokenizer(writer: GGUFWriter, tokenizer: Any, vocab_size: int) -> None:
    """Write vocabulary, merges or scores, special tokens and the way texts are split into the file's metadata.

    Ids above the vocabulary, up to `vocab_size` rows of the embeddings, become unused tokens. A tokenizer of another
    kind, or one that splits texts in a way that llama.cpp does not know, is a `UserError`.
    """
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    model = spec["model"]
    if model["type"] != "BPE":
        raise UserError(f"The tokenizer is of the kind {model['type']}; GGUF files are written of BPE alone.", _ADVICE)
    byte_level = "ByteLevel" in _types(spec["pre_tokenizer"])
    added = {token["id"]: token for token in spec["added_tokens"]}
    tokens = {id: text for text, id in model["vocab"].items()} | {id: token["content"] for id, token in added.items()}
    ids = range(vocab_size)
    writer.add_token_list([tokens.get(id, f"[PAD{id}]") for id in ids])
    writer.add_token_types([_token_type(id, tokens, added, tokenizer.unk_token_id, byte_level) for id in ids])
    merges = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    if byte_level:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_splitting(spec))
        writer.add_token_merges([" ".join(pair) for pair in merges])
    else:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        rank: dict[str, int] = {}
        for place, (left, right) in enumerate(merges):
            rank.setdefault(left + right, place)
        writer.add_token_scores([-float(rank[text]) if (text := tokens.get(id, "")) in rank else _NEVER for id in ids])
        writer.add_add_space_prefix(_puts_blank_before(spec))
    for name in ("bos", "eos", "unk", "pad"):
        id = getattr(tokenizer, f"{name}_token_id")
        if id is not None:
            getattr(writer, f"add_{name}_token_id")(id)
    writer.add_add_bos_token(bool(start_ids(tokenizer)))
    writer.add_add_eos_token(False)


def _token_type(
    id: int, tokens: Mapping[int, str], added: Mapping[int, Mapping[str, Any]], unknown: int | None, byte_level: bool
) -> TokenType:
    if id not in tokens:
        return TokenType.UNUSED
    if not byte_level and _BYTE.fullmatch(tokens[id]):
        return TokenType.BYTE
    if id == unknown and not byte_level:
        return TokenType.UNKNOWN
    if id in added:
        return TokenType.CONTROL if added[id]["special"] else TokenType.USER_DEFINED
    return TokenType.NORMAL


def _splitting(spec: Mapping[str, Any]) -> str:
    """Return llama.cpp's name for how a byte-level tokenizer splits a text before it merges."""
    *before, last = _steps(spec["pre_tokenizer"], "pretokenizers")
    known = last["type"] == "ByteLevel" and not last.get("add_prefix_space")
    if known and not before and last.get("use_regex", True):
        return "gpt-2"
    if known and before == [_DIGITS] and last.get("use_regex", True):
        return "smollm"
    pattern = before[0].get("pattern", {}).get("Regex") if len(before) == 1 else None
    whole = len(before) == 1 and before[0].get("behavior") == "Isolated" and not before[0].get("invert")
    if known and whole and pattern in _SPLITS:
        return _SPLITS[pattern]
    raise UserError("The tokenizer splits texts in a way that llama.cpp does not know.", _ADVICE)


def _puts_blank_before(spec: Mapping[str, Any]) -> bool:
    steps = _steps(spec["normalizer"], "normalizers") + _steps(spec["pre_tokenizer"], "pretokenizers")
    if not any(step["type"] in ("Metaspace", "Replace") for step in steps):
        raise UserError("The tokenizer is neither byte-level nor one that SentencePiece made.", _ADVICE)
    return any(
        step["type"] == "Prepend" or (step["type"] == "Metaspace" and step.get("prepend_scheme") != "never")
        for step in steps
    )


def _steps(stage: Mapping[str, Any] | None, name: str) -> list[dict[str, Any]]:
    if stage is None:
        return []
    return list(stage[name]) if stage["type"] == "Sequence" else [dict(stage)]


def _types(stage: Mapping[str, Any] | None) -> list[str]:
    return [step["type"] for step in _steps(stage, "pretokenizers")]
