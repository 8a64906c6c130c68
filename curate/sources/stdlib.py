"""Instruction and code pairs mined from the Python standard library that is already installed; nothing is shipped."""

from __future__ import annotations

import ast
import inspect
import platform
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

from curate.artifact import digest_text
from curate.errors import UserError
from curate.rows import Row, build_row
from curate.sources import STDLIB, LoadedPool, pool_digest

# Not the library proper, or absent from some installations (tkinter) and versions (distutils), or a program (idlelib).
SKIPPED = {
    "site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "turtle.py", "tkinter",
    "distutils", "ensurepip", "__pycache__",
}  # fmt: skip
MIN_DOCSTRING_CHARS = 20
Function = ast.FunctionDef | ast.AsyncFunctionDef
# How people ask; which one a function gets is decided by the digest of its source, so that it never changes.
REQUESTS = (
    "Write a Python {kind} {signature}. {doc}",
    "Implement {signature} in Python. {doc}",
    "{doc}\nPlease write this as a Python {kind} called {name}.",
    "I need a Python {kind} `{signature}` that does the following: {doc}",
    "Complete this Python {kind}:\ndef {signature}:\n{quoted}",
    "python {kind} {name}: {doc}",
    "Can you show me the code of {signature}? {doc}",
    "{doc}",
)


def load_stdlib() -> LoadedPool:
    """One row for every documented function or method of the standard library, in the order of files and lines."""
    from curate.artifact.manifest_schema import FileRecord

    root = Path(sysconfig.get_paths()["stdlib"])
    rows: list[Row] = []
    for path in sorted(root.rglob("*.py")):
        if SKIPPED.isdisjoint(path.relative_to(root).parts):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            for instruction, output in mine(path):
                rows.append(build_row(len(rows), instruction, output, module))
    if not rows:
        raise UserError(f"No documented function was found below {root}.", "Install Python with its library sources.")
    digest = pool_digest(rows)
    version = platform.python_version()
    inputs = [FileRecord(file=f"{STDLIB} of Python {version}", sha256=digest, rows=len(rows))]
    return LoadedPool(rows, STDLIB, version, digest, inputs)


def mine(path: Path) -> Iterator[tuple[str, str]]:
    """(instruction, output) for every documented function at the top of a module or of a class in it."""
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (OSError, UnicodeDecodeError, SyntaxError):
        return
    lines = source.splitlines(keepends=True)
    for function, owner in _functions(tree):
        doc = ast.get_docstring(function)
        code = _without_docstring(function, lines)
        if doc and code and len(doc) >= MIN_DOCSTRING_CHARS:
            yield _ask(function, owner, doc, code), code


def _functions(tree: ast.Module) -> Iterator[tuple[Function, str | None]]:
    for node in tree.body:
        if isinstance(node, Function):
            yield node, None
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, Function):
                    yield member, node.name


def _without_docstring(function: Function, lines: list[str]) -> str | None:
    """The function's source, dedented, without its docstring; None when nothing else is in it or it does not parse."""
    first, *rest = function.body
    if not rest or first.lineno == function.lineno or first.end_lineno is None or rest[0].lineno == first.end_lineno:
        return None
    start = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    kept = lines[start - 1 : first.lineno - 1] + lines[first.end_lineno : function.end_lineno]
    code = textwrap.dedent("".join(kept)).strip("\n")
    try:
        ast.parse(code)
    except SyntaxError:
        return None
    return code


def _ask(function: Function, owner: str | None, doc: str, code: str) -> str:
    doc = inspect.cleandoc(doc)
    request = REQUESTS[int(digest_text(code)[:8], 16) % len(REQUESTS)]
    return request.format(
        kind="function" if owner is None else f"method of class {owner}",
        signature=f"{function.name}({_arguments(function, owner)})",
        name=function.name,
        doc=doc,
        quoted=textwrap.indent(f'"""{doc}"""', "    "),
    )


def _arguments(function: Function, owner: str | None) -> str:
    written = ast.unparse(function.args)
    first, _, rest = written.partition(", ")
    return rest if owner is not None and first in ("self", "cls") else written
