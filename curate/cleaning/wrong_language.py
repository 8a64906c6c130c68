"""Code in another language than the one asked for."""

from __future__ import annotations

from collections.abc import Sequence

from curate.code.languages import MAX_CHARS, SIBLINGS, detect_language, parses
from curate.code.pieces import Piece, code_pieces, language_claimed
from curate.pool.rows import Finding, Row

# Languages a program is asked for in. Data, markup, queries and shell lines stand beside any of them.
PROGRAMMING = frozenset(
    {"python", "javascript", "typescript", "cpp", "c", "java", "rust", "go", "php", "ruby", "csharp"}
)
_LEAST_LINES = 3


def find(rows: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Rows whose instruction names one programming language and whose code is plainly all in others.

    Precision before recall: a tag decides for fenced code; other code must fail to parse as what was asked, and parse
    as, and carry three lines with marks of, the language it is taken for. Languages that pass for each other (C and
    C++, JavaScript and TypeScript, a page and its script) are not told apart.
    """
    found: list[Finding] = []
    for row in rows:
        asked = language_claimed(row.instruction) if len(row.output) <= MAX_CHARS else None
        if asked not in PROGRAMMING or ("```" not in row.output and parses(row.output, str(asked))[0]):
            continue
        given = [_language(piece, str(asked)) for piece in code_pieces(row.output)]
        if given and all(language is not None and _foreign(language, str(asked)) for language in given):
            found.append((row.row_index, "wrong_language", f"asked for {asked}, is {given[0]}"))
    return found


def _language(piece: Piece, asked: str) -> str | None:
    """The language a piece is plainly in; None when that is not plain."""
    found = piece.tag or detect_language(piece.text, prefer=asked, least=_LEAST_LINES)
    if found in (None, asked) or parses(piece.text, asked)[0]:
        return found if found == asked else None
    return found if piece.tag or parses(piece.text, str(found))[0] else None


def _foreign(language: str, asked: str) -> bool:
    return language in PROGRAMMING and language != asked and not any({language, asked} <= group for group in SIBLINGS)
