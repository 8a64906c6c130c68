"""Finds the code in a whole answer: fenced blocks first, then the longest run of lines that is Python."""

from __future__ import annotations

import ast
import re
import warnings

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)([^\n`]*)\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_STARTS = re.compile(r"^(?:def |class |import |from \w|async def |@)")
MAX_TRIMS = 400


def _parses(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def extract_code(answer: str, entry_point: str = "") -> str | None:
    """The code of `answer`, or None when it holds none.

    Of fenced blocks the first that defines `entry_point` counts, else the first. Without a fence, the code begins at
    the first line that starts a definition or import and ends at the last line up to which it parses.
    """
    blocks = [(tag.strip().lower(), body) for tag, body in _FENCE.findall(answer)]
    python = [body for tag, body in blocks if tag in ("", "python", "py", "python3")]
    body: str
    for body in python:
        if entry_point and re.search(
            rf"\b(?:def|class)\s+{re.escape(entry_point)}\b|\b{re.escape(entry_point)}\s*=", body
        ):
            return body
    if python and python[0].strip():
        first: str = python[0]
        return first
    if answer.strip() and _STARTS.match(answer.lstrip("\n")) and _parses(answer):
        return answer
    lines = answer.splitlines()
    for start, line in enumerate(lines):
        if _STARTS.match(line):
            for end in range(len(lines), max(start, len(lines) - MAX_TRIMS), -1):
                code = "\n".join(lines[start:end]) + "\n"
                if _parses(code):
                    return code
            return "\n".join(lines[start:]) + "\n"
    return None
