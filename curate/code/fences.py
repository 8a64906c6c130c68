"""Fenced code blocks of a Markdown-like text, with offsets; unclosed and unmarked fences included."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^[ \t>]*+(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^\n`]*+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `text[start:end]` is its code, `outer_start:outer_end` includes the fences; `tag` may be ''."""

    code: str
    tag: str
    start: int
    end: int
    outer_start: int
    outer_end: int
    closed: bool


def find_blocks(text: str) -> list[Block]:
    """Blocks in order (CommonMark's rule: a fence closes with at least as many of its own sign and no tag).

    A block that is never closed ends with the text: a generation cut by its token limit.
    """
    blocks = []
    open_match: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        if open_match is None:
            open_match = match
        elif match[1].startswith(open_match[1]) and not match[2]:
            start = min(open_match.end() + 1, match.start())
            end = max(start, match.start() - 1)
            blocks.append(Block(text[start:end], open_match[2], start, end, open_match.start(), match.end(), True))
            open_match = None
    if open_match is not None:
        start = min(open_match.end() + 1, len(text))
        blocks.append(Block(text[start:], open_match[2], start, len(text), open_match.start(), len(text), False))
    return blocks
