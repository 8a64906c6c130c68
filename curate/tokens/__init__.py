"""Tokens: tokenizers, prompts, the text law, and how many tokens a row costs the trained model.

The names are read when they are asked for: transformers takes seconds to load, and help needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import load_when_used

if TYPE_CHECKING:
    from curate.tokens.chat import chat_template
    from curate.tokens.prompt import RAW, PromptTemplate, load_prompt_template, start_ids
    from curate.tokens.tokenizers import (
        EncodedExample,
        count_tokens,
        decode_completion,
        decode_text,
        encode_examples,
        encode_prompt,
        load_tokenizer,
    )

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

_CHAT, _PROMPT, _TOKENIZERS = "curate.tokens.chat", "curate.tokens.prompt", "curate.tokens.tokenizers"

__getattr__ = load_when_used(
    __name__,
    {
        "RAW": _PROMPT,
        "EncodedExample": _TOKENIZERS,
        "PromptTemplate": _PROMPT,
        "chat_template": _CHAT,
        "count_tokens": _TOKENIZERS,
        "decode_completion": _TOKENIZERS,
        "decode_text": _TOKENIZERS,
        "encode_examples": _TOKENIZERS,
        "encode_prompt": _TOKENIZERS,
        "load_prompt_template": _PROMPT,
        "load_tokenizer": _TOKENIZERS,
        "start_ids": _PROMPT,
    },
)
