"""Code that does not parse in the language it claims to be in."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence

from curate.code.languages import MAX_CHARS, can_parse, detect_language, parse_tree, parses
from curate.code.pieces import Piece, code_pieces, language_claimed
from curate.code.unfenced import looks_like_prose
from curate.pool.rows import Finding, Row

# Grammars that take fragments and dialects as people write them; the others report errors in code that is fine.
TRUSTED = frozenset(
    {"python", "javascript", "typescript", "java", "c", "cpp", "csharp", "go", "rust", "ruby", "php", "json"}
)
_SESSION = re.compile(r"^\s*(>>>|\.\.\.|In \[\d+\]:|\$ )", re.MULTILINE)
_MAGIC = re.compile(r"^[ \t]*[!%].*$", re.MULTILINE)
# As notebooks and the asyncio REPL read a piece: `await` outside a function is fine.
_PYTHON_FLAGS = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_PYTHON_2 = "Missing parentheses in call to"
# Statements without a function around them, as answers show them; these grammars want declarations at the top.
_AROUND_STATEMENTS = {"go": "package p\nfunc f() {{\n{}\n}}\n", "cpp": "void f() {{\n{}\n}}\n"}
_DECLARATION = re.compile(r"_(declaration|definition|clause|include)$")


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
    why = _why_broken(piece.text, language)
    if why is None or _SESSION.search(piece.text):
        return None
    if language == "python":
        why = _why_broken(_MAGIC.sub("", textwrap.dedent(piece.text)), language)
    if why is not None and not piece.closed:
        return f"{language}, cut short: {why}"
    return None if why is None else f"{language}, {why}"


def _why_broken(code: str, language: str) -> str | None:
    """What is wrong with `code` as a text of `language` in any of the ways people write it; None where nothing is."""
    if language == "python":
        return _python_error(code)
    good, why = parses(code, language)
    if good or (language == "typescript" and parses(code, "javascript")[0]):  # only JavaScript's grammar reads JSX
        return None
    around = _AROUND_STATEMENTS.get(language)
    return None if around and parses(around.format(_statements(code, language)), language)[0] else why


def _python_error(code: str) -> str | None:
    """What is wrong with `code` in every Python; None where one can run it.

    The grammar decides where this Python is older than the code (f-strings within f-strings are of 3.12), so that a row
    does not go by the version that looks at it. What no grammar tells apart is said alike by all versions: indentation,
    and Python 2's print.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(code, "<row>", "exec", _PYTHON_FLAGS, dont_inherit=True)
    except (ValueError, RecursionError, MemoryError) as error:
        return f"line 1: {error or 'nested too deeply'}"
    except SyntaxError as error:
        same_in_all = isinstance(error, IndentationError) or error.msg.startswith(_PYTHON_2)
        if same_in_all or parse_tree(code, "python").root_node.has_error:
            return f"line {error.lineno or 1}: {error.msg}"
    return None


def _statements(code: str, language: str) -> str:
    """`code` without the declarations at its top that parse: what is left may stand in a function."""
    data = code.encode("utf-8", "replace")
    kept, at = [], 0
    for node in parse_tree(code, language).root_node.children:
        if not node.has_error and _DECLARATION.search(node.type):
            kept.append(data[at : node.start_byte])
            at = node.end_byte
    return b"".join([*kept, data[at:]]).decode("utf-8", "replace")


def _looks_like(code: str, language: str | None) -> bool:
    """Whether unfenced `code` is plainly of `language`: its own marks lead, no line reads like a sentence, and it is no
    page that holds a script."""
    if code.lstrip().startswith("<") or any(looks_like_prose(line) for line in code.splitlines()):
        return False
    return language is not None and detect_language(code, prefer=language, least=2) == language
