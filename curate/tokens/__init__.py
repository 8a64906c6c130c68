"""Tokens: tokenizers, prompts, the text law, and how many tokens a row costs the trained model.

The names are read when they are asked for: transformers takes seconds to load, and help needs none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.tokens.prompt import RAW, PromptTemplate, chat_template, load_prompt_template, start_ids
    from curate.tokens.tokenizers import (
        EncodedExample,
        count_tokens,
        decode_completion,
        decode_text,
        encode_examples,
        encode_prompt,
        load_tokenizer,
    )

_PROMPT = ("RAW", "PromptTemplate", "chat_template", "load_prompt_template", "start_ids")

__all__ = [
    "RAW",
    "EncodedExample",
    "PromptTemplate",
    "chat_template",
    "count_tokens",
    "decode_completion",
    "decode_text",
    "encode_examples",
    "encode_prompt",
    "load_prompt_template",
    "load_tokenizer",
    "start_ids",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "curate.tokens.prompt" if name in _PROMPT else "curate.tokens.tokenizers"
    return getattr(importlib.import_module(home), name)
