"""Outputs and instructions with nothing in them, and how files write that there is nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from curate.pool.rows import Finding, Row

# What pandas, Excel and sets made by self-instruct write for nothing. "None" and "null" stay: they answer questions.
_NOTHING = re.compile(r"nan|n/a|#n/a|<na>|<\s*(?:no\s*output|no\s*input|empty)\s*>", re.IGNORECASE)
_CONTROL_TOKEN = re.compile(r"<\|[a-z_]{2,24}\|>|</?s>|<(?:eos|end_of_turn)>", re.IGNORECASE)
_FENCE_LINE = re.compile(r"^[ \t>]*(?:`{3,}|~{3,})[ \t]*[\w+#.-]*[ \t]*\r?$", re.MULTILINE)
_LONGEST = 200  # a text with nothing in it is short


def find(rows: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Rows whose output is blank, a word for nothing ("nan", "N/A", "<nooutput>"), an end token, or empty fences.

    A row whose instruction is so, or a lone "-", as sets have it whose questions are elsewhere, has none to answer.
    """
    found: list[Finding] = []
    for row in rows:
        for reason, text in (("empty_output", row.output), ("empty_instruction", row.instruction.strip(" -\n"))):
            if is_empty(text):
                shown = " ".join(text.split())
                found.append((row.row_index, reason, f'"{shown}"' if shown else None))
                break
    return found


def is_empty(text: str) -> bool:
    """Whether `text` says nothing: no character that is seen, a word for nothing, control tokens or empty fences."""
    seen = text.strip()
    if not seen:
        return True
    if len(seen) > _LONGEST:
        return False
    seen = _FENCE_LINE.sub("", _CONTROL_TOKEN.sub("", seen))
    seen = "".join(sign for sign in seen if unicodedata.category(sign) not in ("Cf", "Cc")).strip()
    return not seen or _NOTHING.fullmatch(seen) is not None
