"""Which programming languages a set of rows is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from curate.code.languages import detect_language
from curate.code.pieces import code_pieces, language_claimed
from curate.pool.rows import Row

NO_CODE, UNKNOWN = "no code", "other"


def row_language(row: Row) -> str:
    """The language of the longest piece of code in a row's output: its fence tag, else the one the instruction names,
    else the one its lines look most like. "no code" where there is none, "other" where it is none we know."""
    pieces = code_pieces(row.output)
    if not pieces:
        return NO_CODE
    longest = max(pieces, key=lambda piece: len(piece.text))
    return longest.tag or language_claimed(row.instruction) or detect_language(longest.text) or UNKNOWN


def language_mix(rows: Iterable[Row]) -> dict[str, float]:
    """The share (0 to 1) of the rows in each language, largest first; ties in alphabetical order."""
    counts = Counter(row_language(row) for row in rows)
    total = sum(counts.values())
    return {name: round(n / total, 4) for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))}
