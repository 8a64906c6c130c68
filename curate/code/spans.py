"""Which stretch of a model's text is its answer: behind a reasoning draft, before the first end token."""

from __future__ import annotations

import re

_DRAFT = r"(?:think|thinking|thought|reasoning|reflection|scratchpad)"
_DRAFT_OPEN = re.compile(
    rf"\s*(?:<(?:seed:)?{_DRAFT}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis)", re.IGNORECASE
)
_DRAFT_CLOSE = re.compile(
    rf"(?<![\"'`])(?:</(?:seed:)?{_DRAFT}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    r"|<\|channel\|>final(?:<\|constrain\|>\w+)?<\|message\|>)(?![\"'`])[ \t]*\r?\n?",
    re.IGNORECASE,
)
# A begin token or the header of the answer's own turn, as tools leave them that decode with special tokens.
_HEAD = re.compile(
    r"(?:\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|assistant\|>|<\|im_start\|>\s*assistant"
    r"|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>))+[ \t]*\r?\n?"
)
_TOKEN = re.compile(
    r"(?<![\"'`])(?:</s>|<eos>|<end_of_turn>|<start_of_turn>|<EOT>"
    r"|<\|(?:endoftext|end_of_text|im_end|im_start|eot_id|eom_id|end|EOT|user|system|assistant|start_header_id"
    r"|file_sep|eos|endofmessage|return)\|>"
    r"|<｜(?:end▁of▁sentence|User|Assistant|begin▁of▁sentence)｜>)(?![\"'`])"
)


def answer_span(text: str) -> tuple[int, int]:
    """Return (start, end) of the answer in `text`.

    It begins behind the last `</think>` (or another tag of that kind), also where the prompt's template opened the
    draft; a draft that is never closed leaves no answer. It ends before the first end token that stands in the text,
    as tools leave it that decode with special tokens. Tokens and tags in quotes are text; so is `</s>` that closes an
    HTML `<s>`.
    """
    start = 0
    for match in _DRAFT_CLOSE.finditer(text):
        start = match.end()
    if start == 0 and _DRAFT_OPEN.match(text):
        return len(text), len(text)
    head = _HEAD.match(text, start)
    start = head.end() if head else start
    for match in _TOKEN.finditer(text, start):
        if match[0] == "</s>" and "<s>" in text[start : match.start()]:
            continue
        return start, match.start()
    return start, len(text)


def only_tokens(text: str) -> bool:
    """Return whether `text` is nothing but end tokens and white space."""
    return not _TOKEN.sub("", text).replace("<s>", "").strip()
