"""The languages we know: their names, how people ask for them, how their code looks, and whether it parses."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tree_sitter
import yaml

from curate.code.syntax import parse_python

MAX_CHARS = 200_000  # longer texts are not parsed; a grammar's error recovery gets slow on hostile input
_SCAN_CHARS = 20_000  # detection looks no further


@dataclass(frozen=True, slots=True)
class Language:
    """A language: fence tags, words that ask for it in a prompt (a pattern), and patterns of a line of its code.

    `grammar` is (package, function) of its tree-sitter grammar; None means Python's `ast`, or no parser at all.
    """

    name: str
    aliases: tuple[str, ...]
    asked: re.Pattern[str]
    marks: tuple[re.Pattern[str], ...]
    grammar: tuple[str, str] | None


@lru_cache(maxsize=1)
def languages() -> dict[str, Language]:
    """All languages by name, in the order that decides ties; read from `languages.yaml`."""
    table = yaml.safe_load((Path(__file__).parent / "languages.yaml").read_text(encoding="utf-8"))
    return {
        name: Language(
            name,
            tuple(entry["aliases"]),
            re.compile(entry["asked"], re.MULTILINE),
            tuple(re.compile(mark) for mark in entry.get("marks", [])),
            tuple(entry["grammar"]) if "grammar" in entry else None,
        )
        for name, entry in table.items()
    }


NOT_CODE = frozenset(
    ("text", "txt", "output", "console", "plaintext", "plain", "log", "markdown", "md", "stdout", "none")
)
_TRAILING_BLANKS = re.compile(r"[ \t]+$", re.MULTILINE)
_PYTHON_HEAD = re.compile(r"^\s*(async )?def \w+\([^\n]*:\s*$", re.MULTILINE)
# Languages whose code is also, or may pass for, the other's.
_TRANSLATE = re.compile(r"\b(?:convert|translate|rewrite|re-write|port|transform|turn)(?:s|d|ed|ing)?\b")
_INTO = re.compile(r"\b(?:to|into|in|as)\s+(?:an?\s+|the\s+)?(?:equivalent\s+|working\s+)?$")
SIBLINGS = (
    frozenset({"c", "cpp"}),
    frozenset({"javascript", "typescript"}),
    frozenset({"html", "css", "javascript", "php"}),
)


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return {alias: name for name, language in languages().items() for alias in (name, *language.aliases)}


def canonical_language(name: str | None) -> str | None:
    """Our name for a language or fence tag, or None when it is none we know."""
    return None if name is None else _names().get(name.strip().lower())


def languages_named(prompt: str) -> list[str]:
    """The languages a prompt names, in the order it names them."""
    text = prompt[:_SCAN_CHARS].lower()
    found = [(language.asked.search(text), name) for name, language in languages().items()]
    return [name for _, name in sorted((match.start(), name) for match, name in found if match)]


def language_asked(prompt: str) -> str | None:
    """The language a prompt asks for; None when it names none and holds no code.

    That is the one it wants a translation into, else the first it names, else that of the code pasted into it.
    """
    into = _translated_into(prompt[:_SCAN_CHARS].lower())
    if into is not None:
        return into
    named = languages_named(prompt)
    if named:
        return next((name for name in named if name != "regex"), "regex")
    if _PYTHON_HEAD.search(prompt[:_SCAN_CHARS]):
        return "python"
    return detect_language(prompt, least=2)


def _translated_into(text: str) -> str | None:
    """The language after "convert ... to", "rewrite ... in" and the like, where the prompt asks for that."""
    if not _TRANSLATE.search(text):
        return None
    found = [
        (match.start(), name)
        for name, language in languages().items()
        for match in language.asked.finditer(text)
        if _INTO.search(text[max(0, match.start() - 40) : match.start()])
    ]
    return min(found)[1] if found else None


def mark_hits(line: str) -> set[str]:
    """Languages one of whose marks this line carries; only the line's first 400 characters are looked at."""
    return {name for name, language in languages().items() if any(m.search(line[:400]) for m in language.marks)}


def detect_language(code: str, *, tag: str | None = None, prefer: str | None = None, least: int = 1) -> str | None:
    """The language of `code`: its fence tag, else the one with most lines that carry its marks, `prefer` on a tie.

    None when no language reaches `least` lines. A guess by surface, made for short answers.
    """
    tagged = canonical_language(tag)
    if tagged is not None:
        return tagged
    counts: dict[str, int] = {}
    for line in code[:_SCAN_CHARS].splitlines()[:200]:
        for name in mark_hits(line):
            counts[name] = counts.get(name, 0) + 1
    # TypeScript and C++ are counted on top of what they extend.
    for extended, base in (("typescript", "javascript"), ("cpp", "c"), ("php", "html")):
        if extended in counts:
            counts[extended] += counts.get(base, 0)
    best = max(counts.values(), default=0)
    if best < least:
        return None
    tied = [name for name in languages() if counts.get(name, 0) == best]
    return prefer if prefer in tied else tied[0]


def can_parse(language: str | None) -> bool:
    """Whether we have a parser for this language."""
    return language == "python" or (language in languages() and languages()[language].grammar is not None)


@lru_cache(maxsize=32)
def tree_sitter_parser(language: str) -> Any:
    """A tree-sitter parser for one of `languages()` with a grammar; the grammars are installed, nothing is fetched."""
    grammar = languages()[language].grammar
    if grammar is None:
        raise ValueError(f"no grammar for {language}")
    package, call = grammar
    return tree_sitter.Parser(tree_sitter.Language(getattr(importlib.import_module(package), call)()))


def parse_tree(code: str, language: str) -> Any:
    """The tree-sitter tree of `code`; byte offsets in it are those of UTF-8 with surrogates replaced."""
    return tree_sitter_parser(language).parse(code.encode("utf-8", "replace"))


def parses(code: str, language: str) -> tuple[bool, str | None]:
    """Whether `code` is, as a whole, a program text of `language`; and what is wrong with it when not."""
    if language == "python":
        error = python_tree(code)
        return (False, error) if isinstance(error, str) else (True, None)
    if language in ("c", "cpp"):
        code = _TRAILING_BLANKS.sub("", code)  # after `#include <x.h>` these grammars take a blank for an error
    root = parse_tree(code, language).root_node
    if not root.has_error:
        return True, None
    node = root
    while True:
        broken = [child for child in node.children if child.has_error or child.is_missing]
        if node.is_error or node.is_missing or not broken:
            break
        node = broken[0]
    return False, f"line {node.start_point[0] + 1}: not {language}"


def python_tree(code: str) -> Any:
    """The `ast.Module` of `code`, or one line of text that says why there is none."""
    try:
        return parse_python(code)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {error.msg}"
    except (ValueError, UnicodeError) as error:
        return f"line 1: {error}"
    except (RecursionError, MemoryError):
        return "line 1: nested too deeply"
