"""Where prose ends and code begins in a text without fences, and which language a piece of code is in."""

from __future__ import annotations

import re

from curate.code.languages import can_parse, canonical_language, detect_language, mark_hits, parses

_STRICT = ("c", "cpp", "csharp", "go", "java", "javascript", "python", "rust", "sql", "typescript")
_SQL = re.compile(r"(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|WITH|FROM|WHERE|GROUP BY|ORDER BY|HAVING)\b")
# Lines of Python that read like words: signatures with types, imports.
_PYTHON = re.compile(
    r"(?:async )?def \w+ *\(|class \w+ *(?:\([^()]*\))? *:|from [\w.]+ import (?:\(|\*|"
    r"\w+(?: as \w+)?(?: *, *\w+(?: as \w+)?)* *(?:#.*)?$)"
    r"|import [\w.]+(?: as \w+)?(?: *, *[\w.]+(?: as \w+)?)* *(?:#.*)?$"
)
_PLAIN_WORD = re.compile(r"[(\"'`]*[A-Za-z][A-Za-z'’-]*[)\"'`.,:;!?]*")


def looks_like_prose(line: str) -> bool:
    """Whether a line reads like a sentence: mostly plain words, no sign of code at its start or end."""
    words = line.split()
    ended = line.rstrip().endswith((".", "!", "?"))
    if len(words) < (3 if ended else 4) or line[:1].isspace():
        return False
    if line.startswith(("#", "//", "/*", "*", "--", "<", "@")):
        return False
    if _SQL.match(line) or _PYTHON.match(line.rstrip()):
        return False
    plain = sum(len(word) <= 40 and bool(_PLAIN_WORD.fullmatch(word)) for word in words)
    return plain >= 0.7 * len(words) and not re.search(r"[{};=]\s*$|\w\(.*\)\s*:?$", line)


def code_start(text: str) -> int | None:
    """Offset of the first line that begins a definition or import of Python, or carries a mark of a language and does
    not read like a sentence."""
    at = 0
    for line in text[:20_000].splitlines(keepends=True)[:400]:
        if _PYTHON.match(line.rstrip()) or (not looks_like_prose(line) and mark_hits(line.rstrip("\n"))):
            return at
        at += len(line)
    return None


def prose_start(code: str, after: int) -> int:
    """Offset of the first paragraph of prose at or after `after`; the end of `code` when there is none."""
    at = 0
    blank = True
    for line in code.splitlines(keepends=True):
        if at >= after and blank and looks_like_prose(line):
            return at
        blank = not line.strip()
        at += len(line)
    return len(code)


def mostly_code(code: str) -> bool:
    """Whether at least two lines and 40% of them carry a mark of a language or end like a line of code."""
    lines = [line for line in code[:20_000].splitlines() if line.strip()][:200]
    marked = sum(bool(mark_hits(line)) or line.rstrip().endswith((";", "{", "}", ")")) for line in lines)
    return marked >= max(2, 0.4 * len(lines))


def language_of(code: str, tag: str | None, hint: str | None) -> str | None:
    """The language of `code`; the one asked for where the code parses as that and carries a mark of it."""
    found = detect_language(code, tag=tag, prefer=hint)
    if found is None or hint is None or found == hint or canonical_language(tag) is not None:
        return found
    if hint not in _STRICT or not parses(code, hint)[0]:
        return found
    marked = any(hint in mark_hits(line) for line in code[:20_000].splitlines()[:200])
    return hint if marked or not (can_parse(found) and parses(code, found)[0]) else found
