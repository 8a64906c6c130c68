"""Other people's text on our pages: made visible, cut into prose and code, code highlighted; always as text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup, escape
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, String
from pygments.util import ClassNotFound

from curate.code.fences import find_blocks
from curate.code.unfenced import code_start, mostly_code, prose_start

SHOWN_CHARS = 20_000  # a page shows this much of one text; the whole stands in the JSONL file beside it
HIGHLIGHTED_LINE = 2_000  # longer lines stay plain: lexers may be slow on them and nobody reads them
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible_text(text: str, limit: int = SHOWN_CHARS) -> str:
    """`text` with every control, invisible and direction-changing character spelt out, cut at `limit` with a note.

    Line feeds and tabs stay. C0 controls become their Unicode pictures, the rest `<U+202E>` and the like, so nothing
    a model writes can hide, reorder or break the page (CVE-2021-42574 is what direction marks can do to source code).
    """
    cut = text[:limit].replace("\r\n", "\n")
    shown = _INVISIBLE.sub(lambda match: _spell(ord(match.group())), cut)
    return shown if len(text) <= limit else f"{shown}\n[{len(text) - limit:,} more characters not shown]"


def _spell(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a generation: code or prose, part of the answer or trailing after it."""

    text: str
    code: bool = False
    trailing: bool = False
    language: str | None = None


def segments(text: str, answer_end: int | None = None, language: str | None = None) -> list[Segment]:
    """`text` cut into prose and code, each wholly before or after character `answer_end` (None: no trailing text).

    Fenced blocks are code, as `curate.code` finds them; where there is no fence, the stretch that is code without one.
    Concatenated, the segments give `visible_text(text)`, fence lines included.
    """
    if answer_end is None or answer_end >= len(text):
        return _cut(visible_text(text), language, False)
    answer = visible_text(text[:answer_end])
    rest = visible_text(text[answer_end:], max(0, SHOWN_CHARS - answer_end))
    return _cut(answer, language, False) + _cut(rest, language, True)


def _cut(text: str, language: str | None, trailing: bool) -> list[Segment]:
    pieces: list[Segment] = []
    position = 0
    for start, end, tag in _code_stretches(text):
        if start > position:
            pieces.append(Segment(text[position:start], False, trailing))
        if end > start:
            pieces.append(Segment(text[start:end], True, trailing, tag or language))
        position = end
    if position < len(text):
        pieces.append(Segment(text[position:], False, trailing))
    return pieces


def _code_stretches(text: str) -> list[tuple[int, int, str]]:
    """(start, end, tag) of the fenced blocks, a closed one with its last line feed; else of the unfenced code."""
    blocks = find_blocks(text)
    if blocks:
        return [
            (block.start, block.end + (text[block.end : block.end + 1] == "\n"), block.tag.lower()) for block in blocks
        ]
    start = code_start(text)
    if start is None:
        return []
    end = prose_start(text, start)
    code = text[start:end]
    return [(start, end, "")] if mostly_code(code) or len(code.split("\n")) <= 2 else []


def highlight(segment: Segment) -> Markup:
    """The segment as HTML: code in spans of the classes k, s, c, n, f; prose escaped."""
    longest = max((len(line) for line in segment.text.split("\n")), default=0)
    if not segment.code or longest > HIGHLIGHTED_LINE:
        return escape(segment.text)
    pieces: list[Markup] = []
    for kind, text in _tokens(segment):
        pieces.append(Markup('<span class="{}">{}</span>').format(kind, text) if kind else escape(text))
    return Markup("").join(pieces)


def _tokens(segment: Segment) -> list[tuple[str, str]]:
    try:
        lexer = get_lexer_by_name(segment.language or "python", stripnl=False, ensurenl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("python", stripnl=False, ensurenl=False)
    kinds = ((Comment, "c"), (String, "s"), (Number, "n"), (Keyword, "k"), (Name.Function, "f"), (Name.Class, "f"))
    merged: list[tuple[str, str]] = []
    for token, text in lexer.get_tokens(segment.text):
        kind = next((name for family, name in kinds if token in family), "")
        if merged and merged[-1][0] == kind:
            merged[-1] = (kind, merged[-1][1] + text)
        else:
            merged.append((kind, text))
    return merged
