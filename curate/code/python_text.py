"""The stretches of a text that are whole Python statements, found in time linear in the text."""

from __future__ import annotations

import ast
import re
from bisect import bisect_right
from functools import lru_cache
from typing import NamedTuple

from curate.code.languages import MAX_CHARS, python_tree

_ATTEMPTS = 20
_WINDOW = 4_000  # characters parsed at first; answers are mostly shorter
_CUT = re.compile(r"never closed|unterminated|EOF|expected an indented block|expected 'except'")
_LINE_END = re.compile(r"\r\n|\r|\n")
_CONTINUES = re.compile(r"(else|elif|except|finally)\b|[)\]}]")
# A line at which code may begin among prose.
_BEGINS = re.compile(
    r"^(?:@\w|(?:async[ \t]+)?def[ \t]+\w|class[ \t]+\w|import[ \t]+\w|from[ \t]+[\w.]+[ \t]+import\b|try:"
    r"|(?:if|for|while|with)\b[^\n]*:[ \t]*(?:#[^\n]*)?\r?$"
    r"|[A-Za-z_][\w.]*(?:\[[^\]\n]*\])?[ \t]*(?::[^=\n]+)?[-+*|&/]?=[^=]"
    r"|[A-Za-z_][\w.]*\()",
    re.MULTILINE,
)


class Run(NamedTuple):
    """Whole statements at `start:end` of a text; the lines of `tree` count from `start`."""

    start: int
    end: int
    tree: ast.Module


def line_starts(text: str) -> list[int]:
    """Return the offset at which each line starts, lines counted as Python's parser counts them."""
    return [0, *(match.end() for match in _LINE_END.finditer(text))]


@lru_cache(maxsize=8)
def parsed_prefix(code: str) -> tuple[ast.Module | None, int]:
    """Return the longest run of whole top-level statements we find at the start of `code`, and where it ends."""
    return _Parser(code).prefix(0)


@lru_cache(maxsize=8)
def parsed_runs(text: str) -> tuple[Run, ...]:
    """Return the runs of whole top-level statements in `text`, which may hold prose and broken code between them.

    Only the first 200,000 characters are looked at, and no more than six times the text is parsed.
    """
    text = text[:MAX_CHARS]
    parser, runs, at = _Parser(text), list[Run](), 0
    while at < len(text) and parser.budget > 0:
        begin = _BEGINS.search(text, at) if at else None
        if at and begin is None:
            break
        start = begin.start() if begin else 0
        tree, end = parser.prefix(start)
        if tree is not None and tree.body:
            runs.append(Run(start, end, tree))
        line_end = text.find("\n", start)
        at = max(end, len(text) if line_end < 0 else line_end + 1)
    return tuple(runs)


class _Parser:
    """Parses beginnings of one text, a window at a time, until its budget of characters is spent."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = line_starts(text)
        self.budget = 6 * len(text) + 50_000

    def prefix(self, start: int) -> tuple[ast.Module | None, int]:
        """Return the statements from `start`, the beginning of a line, up to the first that is broken; and their end.

        A window that is too small for the last statement is made four times as large; on an error it is cut before
        the line that holds it where a function can end there (prose that is indented may follow its body), else
        before the top-level statement, at most 20 times.
        """
        first = bisect_right(self.starts, start) - 1
        stop = self._line_end(start + _WINDOW)
        kept: tuple[ast.Module | None, int] = (None, start)
        grown, attempts = stop, 0
        while self.budget > 0 and attempts < _ATTEMPTS:
            self.budget -= stop - start
            tree = python_tree(self.text[start:stop])
            if isinstance(tree, ast.Module):
                kept = tree, stop
                if stop < grown or stop == len(self.text):
                    return kept
                stop = grown = self._line_end(start + 4 * (grown - start))
                attempts = 0
                continue
            attempts += 1
            line = first + int(tree.split(":", 1)[0].removeprefix("line ")) - 1
            at_end = line >= bisect_right(self.starts, stop - 1) - 1
            if stop == grown < len(self.text) and (at_end or _CUT.search(tree)):
                stop = grown = self._line_end(start + 4 * (grown - start))
                continue
            before = self._statement_before(first, line, stop)
            if before < self.starts[line] < stop and not _CUT.search(tree):
                begun = self._parse(start, self.starts[line])
                if begun is not None:
                    return begun, self.starts[line]
            stop = before
            if stop <= kept[1]:
                return kept
        return kept

    def _parse(self, start: int, stop: int) -> ast.Module | None:
        self.budget -= stop - start
        tree = python_tree(self.text[start:stop])
        return tree if isinstance(tree, ast.Module) else None

    def _line_end(self, place: int) -> int:
        line = bisect_right(self.starts, place)
        return self.starts[line] if line < len(self.starts) else len(self.text)

    def _statement_before(self, first: int, line: int, stop: int) -> int:
        """Return where the top-level statement begins that holds `line`, a line not before `first`."""
        at = min(line, bisect_right(self.starts, max(stop - 1, 0)) - 1)
        while at > first:
            head = self.text[self.starts[at] : self.starts[at] + 10]
            if head and not head[0].isspace() and not _CONTINUES.match(head) and self.starts[at] < stop:
                break
            at -= 1
        return self.starts[at]
