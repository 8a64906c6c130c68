"""The pieces of code in an instruction's output, and the language each claims to be in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from curate.code.fences import find_blocks
from curate.code.languages import MAX_CHARS, NOT_CODE, canonical_language, languages_named
from curate.code.spans import answer_span, with_line_feeds
from curate.code.unfenced import code_start, prose_start

_CLAIM_CHARS = 2_000
# Languages we do not know, but must not take for one we do: "a Kotlin class that Java can call" asks for no Java.
_OTHERS = re.compile(
    r"\b(kotlin|swift|scala|perl|haskell|matlab|dart|lua|julia|powershell|visual basic|vb\.?net|vba|assembly|"
    r"objective-c|elixir|clojure|f#|groovy|fortran|cobol|lisp|scheme|prolog|erlang|ocaml|solidity|verilog|vhdl|graphql|yaml|xml|"
    r"markdown|latex|arduino|unity|excel|r (?:program|script|code|function)|in r)\b|\bf#"
)
_TRANSLATES = re.compile(
    r"\b(translat|convert|port|rewrit|transpil|migrat|equivalent|differen)\w*\b[^.]*\b(to|in|into|of|from)\b"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Code in an output. `tag` is its fence's language as we name it, None where there is no fence or no known tag.

    `whole` says that the output is this code and nothing else; `closed` that its fence, if any, is closed.
    """

    text: str
    tag: str | None
    whole: bool
    closed: bool = True


@lru_cache(maxsize=200_000)
def language_claimed(instruction: str) -> str | None:
    """The one language an instruction names; None when it names none or several, or asks for a translation.

    Only its first 2,000 characters are looked at; asked again for the same instruction, it need not look again.
    """
    text = instruction[:_CLAIM_CHARS].lower()
    named = languages_named(text)
    return None if len(named) != 1 or _OTHERS.search(text) or _TRANSLATES.search(text) else named[0]


def code_pieces(output: str) -> list[Piece]:
    """Fenced blocks (those tagged as no code left out); without a fence, the unfenced code if there is any.

    Only the first 200,000 characters are looked at, and of them the answer: no reasoning draft, nothing behind an end
    token.
    """
    begin, stop = answer_span(output[:MAX_CHARS])
    text = with_line_feeds(output[begin:stop])
    blocks = find_blocks(text) if ("```" in text or "~~~" in text) else []
    if blocks:
        return [
            Piece(block.code, canonical_language(block.tag), False, block.closed)
            for block in blocks
            if block.code.strip() and block.tag.lower() not in NOT_CODE
        ]
    start = code_start(text)
    if start is None:
        return []
    end = prose_start(text, start)
    whole = not text[:start].strip() and not text[end:].strip()
    return [Piece(text[start:end], None, whole)]
