"""Outputs that decline or ask back instead of answering."""

from __future__ import annotations

import re
from collections.abc import Sequence

from curate.code.fences import find_blocks
from curate.code.unfenced import code_start
from curate.pool.rows import Finding, Row

_SORRY = r"(?:(?:i'?m|i am) (?:\w+ ){0,2}?sorry|sorry|(?:my )?apologies|i apologi[sz]e|unfortunately)\b"
_MACHINE = r"as an? (?:\w+ ){0,3}?(?:ai|language model|assistant|chatbot)\b[^.!?\n]{0,40}?"
_CANNOT = (
    r"(?:(?:i|we) (?:can(?:not|'?t| not)|could(?: not|n'?t)|won'?t|will not|did(?: not|n'?t) understand"
    r"|(?:do not|don'?t) (?:have|understand|know|see))|(?:i'?m|i am) (?:unable|not able|not capable|not sure))\b"
)
_UNCLEAR = (
    r"(?:the|your|this) (?:question|request|instruction|prompt|task|input|sentence)s?\b[^.!?\n]{0,60}?"
    r"(?:is|are|was|seems?|appears?)(?: to be)? "
    r"(?:not |un|in)(?:clear|complete|answerable|understandable|provided|enough)"
)
_HELP = (
    r"(?:assist|help|fulfil+|comply|answer|provide|generate|create|write|complete|do|execute|perform|process|offer)"
    r"\b[^.!?\n]{0,60}?\b(?:request|question|that|this|instruction|information|context)\b"
)
_ASKS_BACK = (
    r"(?:please|(?:could|can) you(?: please)?) (?:provide|give|share|specify|clarify)\b[^.!?\n]{0,60}?"
    r"\b(?:more|additional|further|the (?:code|input|full|complete|actual|necessary|missing|question))\b"
)
_REFUSAL = re.compile(
    rf"\s*[\"']?(?:{_SORRY}[^.!?\n]{{0,80}}?(?:{_MACHINE})?(?:{_CANNOT}|{_UNCLEAR})|{_MACHINE}[, ]*{_CANNOT}"
    rf"|{_CANNOT}(?: to)? {_HELP}|(?:{_SORRY}[^.!?\n]{{0,60}}?)?{_ASKS_BACK})",
    re.IGNORECASE,
)
_LONGEST_PROSE = 1_500  # who declines is brief; longer texts that open so go on to answer


def find(rows: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Rows whose output opens by declining, or by asking for more, and holds no code.

    English only, and precision before recall: an apology that is followed by code or by a long answer is an answer.
    """
    found: list[Finding] = []
    for row in rows:
        match = _REFUSAL.match(row.output[:400].replace("’", "'"))
        if (
            match
            and len(row.output) <= _LONGEST_PROSE
            and not find_blocks(row.output)
            and code_start(row.output) is None
        ):
            found.append((row.row_index, "refusal", " ".join(match[0].split())))
    return found
