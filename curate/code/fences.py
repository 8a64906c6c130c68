"""Fenced code blocks of a Markdown-like text, with offsets, as models write them: cut, nested, in lists, half open."""

from __future__ import annotations

import re
import textwrap
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from curate.code.languages import NOT_CODE, canonical_language, python_tree
from curate.code.unfenced import code_start, looks_like_prose, mostly_code

_FENCE = re.compile(r"^([ \t>]*+(?:(?:[-*+]|\d{1,3}[.)])[ \t]++)?)(`{3,}+|~{3,}+)[ \t]*+([^\n\r`]*+)\r?$", re.MULTILINE)
_TAG = re.compile(r"\{?\.?([\w+#.-]*)")
# What may stand behind a closing fence: signs, or an end token that was decoded with the text.
_CLOSING = re.compile(r"(?:</?s>|<[|｜][^>\n]{0,40}[|｜]>|[^\w\n])*+")
_QUOTED = re.compile(r"^[ \t]*(?:>[ \t]?)+", re.MULTILINE)
_QUOTES = re.compile(r"\"\"\"|'''")


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
    quoted: bool = False

    @property
    def dedented(self) -> str:
        """The code without the indentation that a list gives the block, or the signs that a quotation gives it."""
        if self.quoted:
            return _QUOTED.sub("", self.code)
        return textwrap.dedent(self.code) if self.code.lstrip("\r\n")[:1] in (" ", "\t") else self.code


def find_blocks(text: str) -> list[Block]:
    """Return the blocks in order.

    CommonMark's rule, that a fence closes with at least as many of its own sign and no tag, with five concessions to
    what models write: an end token or a full stop may stand behind a closing fence; a fence with a language's tag ends
    a block that was left open; a fence may stand behind a list's bullet; a fence inside an open docstring, indented
    further than the block, belongs to the docstring; and where code is followed by a closing fence that nothing opened
    (the prompt did), the code from the text's beginning is a block. A block that is never closed ends with the text: a
    generation cut by its token limit.
    """
    fences = _Fences(text)
    blocks: list[Block] = []
    opened: re.Match[str] | None = None
    for match in fences.matches:
        closing = _CLOSING.fullmatch(match[3]) is not None
        if opened is None:
            if fences.in_docstring(match, blocks[-1].outer_end if blocks else 0, 0, in_block=False):
                continue
            implied = _implied_start(text[: match.start()]) if not blocks and not _tag(match) else None
            if implied is not None:
                end = max(implied, match.start() - 1)
                blocks.append(Block(text[implied:end], "", implied, end, implied, match.end(), True))
            else:
                opened = match
        elif closing and match[2].startswith(opened[2]):
            if not fences.in_docstring(match, opened.end(), len(opened[1])):
                blocks.append(_block(text, opened, match.start(), match.end(), True))
                opened = None
        elif (
            _is_known_tag(match)
            and match[2] == opened[2]
            and not fences.in_docstring(match, opened.end(), len(opened[1]))
        ):
            blocks.append(_block(text, opened, match.start(), match.start(), False))
            opened = match
    if opened is not None:
        blocks.append(_block(text, opened, len(text) + 1, len(text), False))
    return blocks


def _block(text: str, opened: re.Match[str], stop: int, outer_end: int, closed: bool) -> Block:
    start = min(opened.end() + 1, stop, len(text))
    end = max(start, min(stop - 1, len(text)))
    return Block(text[start:end], _tag(opened), start, end, opened.start(), outer_end, closed, ">" in opened[1])


def _tag(match: re.Match[str]) -> str:
    tag = _TAG.match(match[3])
    return tag[1] if tag else ""


def _is_known_tag(match: re.Match[str]) -> bool:
    tag = _tag(match)
    return canonical_language(tag) is not None or tag.lower() in NOT_CODE


class _Fences:
    """The fence lines of a text and its triple quotes, to tell a fence from a line of a docstring in linear time."""

    def __init__(self, text: str) -> None:
        self.matches = list(_FENCE.finditer(text))
        self.bare = [match.start() for match in self.matches if _CLOSING.fullmatch(match[3])]
        self.quotes = [(match.start(), match[0]) for match in _QUOTES.finditer(text)] if self.matches else []
        self.places = [place for place, _ in self.quotes]
        self.scanned: tuple[int, int, str] = (0, 0, "")

    def in_docstring(self, fence: re.Match[str], since: int, indent: int, *, in_block: bool = True) -> bool:
        """Whether a triple quote opened after `since` is open at `fence` and closed later.

        A docstring in a block (`indent` columns deep) is closed before a fence that can end the block.
        """
        if len(fence[1]) <= indent:
            return False
        quote = self._open_quote(since, fence.start())
        if not quote:
            return False
        later = bisect_right(self.places, fence.start())
        closing = next((place for place, kind in self.quotes[later : later + 8] if kind == quote), None)
        return closing is not None and (not in_block or bisect_left(self.bare, closing) < len(self.bare))

    def _open_quote(self, since: int, place: int) -> str:
        """The triple quote that is open at `place`, counted from `since` on; asked in the order of the places."""
        asked, index, quote = self.scanned
        if asked != since:
            index, quote = bisect_left(self.places, since), ""
        while index < len(self.places) and self.places[index] < place:
            kind = self.quotes[index][1]
            quote = kind if not quote else "" if kind == quote else quote
            index += 1
        self.scanned = (since, index, quote)
        return quote


def _implied_start(before: str) -> int | None:
    """Where a block begins that ends at a lone closing fence; None where the text before that fence is no code."""
    last = next((line for line in reversed(before[-2_000:].splitlines()) if line.strip()), "")
    if not last or last.rstrip().endswith(":") or looks_like_prose(last):
        return None
    first = next(line for line in before.splitlines() if line.strip())
    start = 0 if first[:1].isspace() else code_start(before)
    if start is None:
        return None
    code = before[start:]
    head = "def _():\n" if first[:1].isspace() else ""
    whole = not isinstance(python_tree(head + code), str)
    if whole and not (start == 0 and all(line.isidentifier() for line in code.split())):
        return start
    return start if mostly_code(code) and not any(looks_like_prose(line) for line in code.splitlines()) else None
