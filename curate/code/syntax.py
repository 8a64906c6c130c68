"""The one call of Python's own parser."""

from __future__ import annotations

import ast
import threading
import warnings

_ONE_AT_A_TIME = threading.RLock()


def parse_python(code: str) -> ast.Module:
    """Return the syntax tree of `code`, without the warnings a newer Python has for old escapes in strings.

    Raises what `ast.parse` raises: SyntaxError, ValueError (NUL characters), RecursionError, MemoryError.

    Threads take turns: CPython 3.11 counts the depth of the tree in one place for all of them and raises a SystemError
    when two trees are built at once (python/cpython#106905), and filters of warnings are shared between threads too.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)
