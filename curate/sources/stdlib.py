"""Instruction and code pairs mined from the Python standard library that is already installed; nothing is shipped."""

from __future__ import annotations

import ast
import copy
import inspect
import platform
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

from curate.artifact import digest_text
from curate.artifact.manifest_schema import FileRecord
from curate.code.syntax import parse_python
from curate.defaults import STDLIB
from curate.errors import UserError
from curate.pool.rows import Row, build_row
from curate.pool.writer import write_table
from curate.sources.types import LoadedPool

# Not the library proper, or absent from some installations (tkinter) and versions (distutils), or a program (idlelib).
SKIPPED = {
    "site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "turtle.py", "tkinter",
    "distutils", "ensurepip", "__pycache__",
}  # fmt: skip
MIN_DOCSTRING_CHARS = 20
Function = ast.FunctionDef | ast.AsyncFunctionDef
# How people ask; which one a function gets is decided by the digest of its source, so that it never changes.
REQUESTS = (
    "Write a Python {kind} {signature}{owner}. {doc}",
    "Implement {signature}{owner} in Python. {doc}",
    "{doc}\nPlease write this as a Python {kind} called {name}{owner}.",
    "I need a Python {kind} `{signature}`{owner} that does the following: {doc}",
    "Complete this Python {kind}{owner}:\n{header}\n{quoted}",
    "python {kind} {name}{owner}: {doc}",
    "Can you show me the code of {signature}{owner}? {doc}",
    "{doc}",
)


def load_stdlib() -> LoadedPool:
    """One row for every documented function or method of the standard library, in the order of files and lines.

    About 4,500 rows; which ones depends on the Python version alone, and that is recorded as the revision.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    rows: list[Row] = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED.isdisjoint(path.relative_to(root).parts):
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            for instruction, output in mine(path):
                rows.append(build_row(len(rows), instruction, output, module))
    if not rows:
        raise UserError(
            f"No documented function was found below {root}: this Python was installed without its library's sources.",
            "Use a Python that has them, or name a local file with --dataset.",
        )
    table = write_table(rows)
    digest = table.digest()
    version = platform.python_version()
    inputs = [FileRecord(file=f"{STDLIB} of Python {version}", sha256=digest, rows=len(rows))]
    return LoadedPool(table, STDLIB, version, digest, inputs)


def mine(path: Path) -> Iterator[tuple[str, str]]:
    """(instruction, output) for every documented function at the top of a module or of a class in it.

    A file that this Python cannot parse gives nothing.
    """
    try:
        source = path.read_text(encoding="utf-8")
        tree = parse_python(source)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError):
        return
    # Not splitlines(): it also breaks at form feeds, which the library contains and the parser does not count as lines.
    lines = [f"{line}\n" for line in source.split("\n")]
    for function, owner in _functions(tree):
        doc = ast.get_docstring(function)
        if doc and len(doc) >= MIN_DOCSTRING_CHARS and not _is_stub(function):
            code = _without_docstring(function, lines)
            if code:
                yield _ask(function, owner, doc, code), code


def _functions(tree: ast.Module) -> Iterator[tuple[Function, str | None]]:
    for node in tree.body:
        if isinstance(node, Function):
            yield node, None
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, Function):
                    yield member, node.name


def _is_stub(function: Function) -> bool:
    """Whether nothing follows the docstring but `pass`, `...` or `raise NotImplementedError`: no answer to learn."""
    for statement in function.body[1:]:
        ellipsis = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        raises = isinstance(statement, ast.Raise) and "NotImplementedError" in ast.dump(statement)
        if not (isinstance(statement, ast.Pass) or ellipsis or raises):
            return False
    return True


def _without_docstring(function: Function, lines: list[str]) -> str | None:
    """The function's source, dedented, without its docstring; None where that would not be the same function."""
    first, rest = function.body[0], function.body[1:]
    if first.lineno == function.lineno or first.end_lineno is None or rest[0].lineno == first.end_lineno:
        return None
    start = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    head, body = "".join(lines[start - 1 : first.lineno - 1]), "".join(lines[first.end_lineno : function.end_lineno])
    code = textwrap.dedent(head + body.lstrip("\n")).strip("\n")
    bare = copy.copy(function)
    bare.body = rest
    try:
        # Dedenting can change the text inside a string of several lines.
        return code if ast.dump(parse_python(code)) == ast.dump(ast.Module([bare], [])) else None
    except SyntaxError:
        return None


def _ask(function: Function, owner: str | None, doc: str, code: str) -> str:
    doc = inspect.cleandoc(doc)
    request = REQUESTS[int(digest_text(code)[:8], 16) % len(REQUESTS)]
    prefix = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    return request.format(
        kind="function" if owner is None else "method",
        owner="" if owner is None else f" of the class {owner}",
        signature=f"{function.name}({_arguments(function, owner)})",
        name=function.name,
        header=f"{prefix} {function.name}({ast.unparse(function.args)}):",
        doc=doc,
        quoted=textwrap.indent(f'"""{doc}"""', "    "),
    )


def _arguments(function: Function, owner: str | None) -> str:
    """The arguments as a caller sees them: a method's `self` or `cls` is left out."""
    seen = copy.deepcopy(function.args)
    for names in (seen.posonlyargs, seen.args):
        if owner is not None and names and names[0].arg in ("self", "cls"):
            del names[0]
            break
    return ast.unparse(seen)
