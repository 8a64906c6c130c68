"""Which stretch of a model's text is its answer: behind a reasoning draft, before the first end token."""

from __future__ import annotations

import re
from collections.abc import Iterator

_DRAFT = r"(?:think|thinking|thought|reasoning|reflection|scratchpad)"
_DRAFT_OPEN = re.compile(
    rf"\s*(?:<(?:seed:)?{_DRAFT}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis)", re.IGNORECASE
)
_DRAFT_CLOSE = re.compile(
    rf"(?:</(?:seed:)?{_DRAFT}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    r"|<\|channel\|>final(?:<\|constrain\|>\w+)?<\|message\|>)[ \t]*\r?\n?",
    re.IGNORECASE,
)
_MARKS = re.compile("[\ufeff\u200b\u2060]*")  # a byte order mark and its like: seen by no reader, refused by Python
# A begin token or the header of the answer's own turn, as tools leave them that decode with special tokens.
_HEAD = re.compile(
    r"(?:\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|begin_of_solution\|>|<\|assistant\|>|<\|im_start\|>\s*assistant"
    r"|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>))+[ \t]*\r?\n?"
)
# Llama 2 and Gemma, StarCoder, DeepSeek, and what all others write: <|name|>.
_TOKEN = re.compile(
    r"</s>|<(?:eos|pad|EOT|end_of_turn|start_of_turn|end_of_utterance)>|\[/INST\]|(?:\[PAD\])+\s*\Z"
    r"|<(?:fim_[a-z]+|file_sep|repo_name|empty_output|issue_start|jupyter_start)>"
    r"|<\|/?\w{2,40}\|>|<｜[\w▁]{2,40}｜>"
)
_SIGN = re.compile(r"\\.|\n|`{3,}|[\"'`]", re.DOTALL)
_PREFIX = re.compile(r"\b(?:[rbfu]|rb|br|rf|fr)\Z", re.IGNORECASE)  # what may stand before a string's first quote


def answer_span(text: str) -> tuple[int, int]:
    """Return (start, end) of the answer in `text`.

    It begins behind the last `</think>` (or another tag of that kind), also where the prompt's template opened the
    draft; a draft that is never closed leaves no answer. It ends before the first end token that stands in the text,
    as tools leave it that decode with special tokens. Tokens and tags in quotes are text; so is `</s>` that closes an
    HTML `<s>`. A byte order mark before it is no part of it.
    """
    first = start = _end_of(_MARKS, text, 0)
    for match in _outside_quotes(_DRAFT_CLOSE, text, 0):
        start = match.end()
    if start == first and _DRAFT_OPEN.match(text, start):
        return len(text), len(text)
    start = _end_of(_MARKS, text, _end_of(_HEAD, text, _end_of(_MARKS, text, start)))
    for match in _outside_quotes(_TOKEN, text, start):
        if match[0] == "</s>" and "<s>" in text[start : match.start()]:
            continue
        return start, match.start()
    return start, len(text)


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _outside_quotes(pattern: re.Pattern[str], text: str, start: int) -> Iterator[re.Match[str]]:
    """The matches that no quotes on their line enclose: in code as a string, in prose as a word that is spoken of."""
    signs = _SIGN.finditer(text, text.rfind("\n", 0, start) + 1)
    sign = next(signs, None)
    quote = ""
    for match in pattern.finditer(text, start):
        while sign is not None and sign.start() < match.start():
            if sign[0] == "\n" or sign[0] == quote:
                quote = ""
            elif not quote and sign[0] in ('"', "'", "`") and not _is_apostrophe(text, sign):
                quote = sign[0]
            sign = next(signs, None)
        line_end = text.find("\n", match.end())
        if not quote or text.find(quote, match.end(), len(text) if line_end < 0 else line_end) < 0:
            yield match


def _is_apostrophe(text: str, sign: re.Match[str]) -> bool:
    """Whether a quote stands behind a letter, as in "it's", and does not begin a string such as f'...'."""
    before = text[max(sign.start() - 3, 0) : sign.start()]
    return before[-1:].isalnum() and _PREFIX.search(before) is None


def only_tokens(text: str) -> bool:
    """Return whether `text` is nothing but end tokens and white space."""
    return not _TOKEN.sub("", text).replace("<s>", "").strip()


def with_line_feeds(text: str) -> str:
    """Return `text` with a line feed for every carriage return where those alone end its lines; of the same length."""
    return text if "\n" in text else text.replace("\r", "\n")
