"""Code that does not parse in the language it claims to be in."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from curate.code.languages import MAX_CHARS, can_parse, detect_language, parses
from curate.code.pieces import Piece, code_pieces, language_claimed
from curate.code.unfenced import looks_like_prose
from curate.pool.rows import Finding, Row

# Grammars that take fragments and dialects as people write them; the others report errors in code that is fine.
TRUSTED = frozenset(
    {"python", "javascript", "typescript", "java", "c", "cpp", "csharp", "go", "rust", "ruby", "php", "json"}
)
_SESSION = re.compile(r"^\s*(>>>|\.\.\.|In \[\d+\]:|\$ )", re.MULTILINE)
_MAGIC = re.compile(r"^[ \t]*[!%].*$", re.MULTILINE)


def find(rows: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Rows with a piece of code that is no program text of the language its fence, or else the instruction, names.

    Precision before recall: a piece without a known claim, a terminal session, unfenced code that stands among prose
    and outputs of over 200,000 characters are not judged. Indented pieces are dedented, notebook commands left out.
    """
    found: list[Finding] = []
    for row in rows:
        why = _broken(row)
        if why:
            found.append((row.row_index, "does_not_parse", why))
    return found


def _broken(row: Row) -> str | None:
    if len(row.output) > MAX_CHARS:
        return None
    fenced = "```" in row.output or "~~~" in row.output
    asked = None if fenced else language_claimed(row.instruction)
    if not fenced and (asked not in TRUSTED or parses(row.output, str(asked))[0]):
        return None
    for piece in code_pieces(row.output):
        language = piece.tag or (asked if piece.whole and _looks_like(piece.text, asked) else None)
        if language not in TRUSTED or not can_parse(language):
            continue
        why = broken_piece(piece, str(language))
        if why:
            return why
    return None


def broken_piece(piece: Piece, language: str) -> str | None:
    """What is wrong with a piece as a text of `language`; None where it parses or is a terminal session."""
    good, why = parses(piece.text, language)
    if good or _SESSION.search(piece.text):
        return None
    if language == "python":
        good, why = parses(_MAGIC.sub("", textwrap.dedent(piece.text)), language)
    if not good and not piece.closed:
        return f"{language}, cut short: {why}"
    return None if good else f"{language}, {why}"


def _looks_like(code: str, language: str | None) -> bool:
    """Whether unfenced `code` is plainly of `language`: its own marks lead, no line reads like a sentence, and it is no
    page that holds a script."""
    if code.lstrip().startswith("<") or any(looks_like_prose(line) for line in code.splitlines()):
        return False
    return language is not None and detect_language(code, prefer=language, least=2) == language
