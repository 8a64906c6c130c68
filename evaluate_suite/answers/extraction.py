"""Finds the code in a whole answer: fenced blocks first, then the longest run of lines that is Python."""

from __future__ import annotations

import ast
import re
import warnings

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)([^\n`]*)\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_STARTS = re.compile(r"^(?:def |class |import |from \w|async def |@)")


def _broken_line(code: str) -> int | None:
    """The line (from 1) at which `code` stops being Python, or None when it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except SyntaxError as error:
        return max(error.lineno or 1, 1)
    except (ValueError, RecursionError, MemoryError):
        return 1
    return None


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
    if answer.strip() and _STARTS.match(answer.lstrip("\n")) and _broken_line(answer) is None:
        return answer
    lines = answer.split("\n")
    start = next((number for number, line in enumerate(lines) if _STARTS.match(line)), None)
    return None if start is None else _longest_python(lines[start:])


def _longest_python(lines: list[str]) -> str:
    """The longest run from the first line on that is Python; all of it where none is, so that running it says why.

    What breaks at a line breaks with any later end too, so each try ends before the line that broke the last.
    """
    end = len(lines)
    while end > 0:
        code = "\n".join(lines[:end]) + "\n"
        broken = _broken_line(code)
        if broken is None:
            return code
        end = min(end - 1, broken - 1)
    return "\n".join(lines) + "\n"
