"""What the top-level pieces of a program text are: the answer, self-written tests or example calls, or unrelated."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from curate.code.languages import MAX_CHARS, can_parse, parse_tree
from curate.code.names import names_of
from curate.code.python_text import line_starts, parsed_prefix

ANSWER = "answer"
TESTS = "tests"
UNRELATED = "unrelated"
_PROGRAM = re.compile(r"\b(app|application|script|program|server|cli|tool|game|bot)\b", re.IGNORECASE)
_DEFINITIONS = {
    "function_declaration", "class_declaration", "method_declaration", "function_definition", "function_item",
    "struct_item", "impl_item", "enum_item", "interface_declaration", "class_specifier", "lexical_declaration",
    "export_statement", "method", "class", "generator_function_declaration",
}  # fmt: skip
_PREPARATIONS = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AugAssign)
_PASSES = 20  # each accepts at least one more definition; chains that are longer end as unrelated
_FUNCTION = re.compile(r"(?:async )?(?:function\*?|class) (\w+)")
_NAME_PART = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}")
_WORD = re.compile(r"\w+")
_DEFINED = re.compile(r"\b(?:function\*?|class|const|let|var|def|fn|func|interface|struct|enum)\s+(\w+)")


@dataclass(frozen=True, slots=True)
class Part:
    """`start:end` of a program text, and what it is. `why` names the rule for what is not the answer."""

    start: int
    end: int
    kind: str
    why: str = ""


def python_parts(code: str, prompt: str = "", already: int = 0) -> tuple[list[Part], int]:
    """The parts of the parsable beginning of `code`, and where that beginning ends.

    Until the first function or class that ends after offset `already` is complete, everything is the answer; so is a
    script without any. After it, a definition belongs to the answer when the answer uses it, when it uses the answer,
    or when the prompt names it; other definitions are unrelated; tests, `main` blocks, calls and asserts are tests.
    """
    tree, end = parsed_prefix(code[:MAX_CHARS])
    if tree is None:
        return [], 0
    starts = line_starts(code)
    last_lines = [stmt.end_lineno or stmt.lineno for stmt in tree.body]
    ends = [min(starts[line], end) if line < len(starts) else end for line in last_lines]
    ends = [max(e, starts[s.lineno - 1]) for s, e in zip(tree.body, ends, strict=True)]
    kinds = _PythonKinds(tree, ends, prompt, already).kinds()
    parts: list[Part] = []
    at = 0
    for stop, (kind, why) in zip(ends, kinds, strict=True):
        if parts and parts[-1].kind == kind:
            parts[-1] = Part(parts[-1].start, max(stop, at), kind, parts[-1].why)
        else:
            parts.append(Part(at, max(stop, at), kind, why))
        at = max(at, stop)
    return parts, end


class _PythonKinds:
    def __init__(self, tree: ast.Module, ends: list[int], prompt: str, already: int) -> None:
        self.body, self.asked = tree.body, set(re.findall(r"\w+", prompt))
        self.asks_for_program = bool(_PROGRAM.search(prompt))
        named = [names_of(stmt) for stmt in self.body]
        self.uses = [names.needed | names.changed for names in named]
        self.names = [names.bound for names in named]
        self.providers: dict[str, list[int]] = {}
        for i, bound in enumerate(self.names):
            for name in bound:
                self.providers.setdefault(name, []).append(i)
        definitions = [i for i, stmt in enumerate(self.body) if _is_definition(stmt) and ends[i] > already]
        real = [i for i in definitions if not self._is_test(i)]
        self.first = real[0] if real else None
        if real and isinstance(self.body[real[0]], ast.ClassDef) and not re.search(r"\bclass", prompt, re.IGNORECASE):
            # A class that nobody asked for prepares the function that follows it.
            self.first = next((i for i in real if not isinstance(self.body[i], ast.ClassDef)), real[0])

    def _is_test(self, i: int) -> bool:
        stmt = self.body[i]
        if isinstance(stmt, ast.ClassDef):
            bases = {getattr(base, "attr", getattr(base, "id", "")) for base in stmt.bases}
            return "TestCase" in bases or stmt.name.startswith("Test")
        name = getattr(stmt, "name", "")
        return bool(name.lower().startswith("test") or name.lower().endswith("_test") or name == "main")

    def kinds(self) -> list[tuple[str, str]]:
        if self.first is None:
            return [(ANSWER, "")] * len(self.body)
        accepted, needed = self._accepted(self.first)
        known = {name for i in accepted for name in self.names[i]}
        kinds: dict[int, tuple[str, str]] = {}
        foreign: set[str] = set()
        before = {name for i in range(self.first + 1) for name in self.names[i]}
        for i in range(self.first + 1, len(self.body)):
            stmt = self.body[i]
            if i in accepted:
                before |= self.names[i]
            elif _is_definition(stmt) and not self._is_test(i):
                if self.names[i] & (before | foreign):
                    kinds[i] = UNRELATED, "defined again"
                elif self._is_example(i):
                    kinds[i] = TESTS, "decorated as an example"
                else:
                    kinds[i] = UNRELATED, "another definition"
                    foreign |= self.names[i]
            elif self.asks_for_program and _is_main_block(stmt):
                continue
            elif self.uses[i] & foreign and not self.uses[i] & known:
                kinds[i] = UNRELATED, "uses another definition"
            elif isinstance(stmt, _PREPARATIONS) and (self.names[i] | self.changed(i)) & needed:
                known |= self.names[i]
            else:
                kinds[i] = TESTS, "test" if isinstance(stmt, ast.Assert) or _is_definition(stmt) else "example"
        self._lend_to_next(kinds, foreign)
        return [kinds.get(i, (ANSWER, "")) for i in range(len(self.body))]

    def changed(self, i: int) -> frozenset[str]:
        """What an assignment changes in place."""
        return names_of(self.body[i]).changed if not isinstance(self.body[i], ast.Expr) else frozenset()

    def _is_example(self, i: int) -> bool:
        """Whether a function is only there to show a decorator that the answer defines."""
        assert self.first is not None
        defined = {
            name for j in range(self.first + 1) if isinstance(self.body[j], ast.FunctionDef) for name in self.names[j]
        }
        return bool(_decorators(self.body[i]) & defined)

    def _accepted(self, first: int) -> tuple[set[int], set[str]]:
        """The statements up to the first definition and, by fixpoint, the definitions that they need, that use them or
        that the prompt names; and all names that these need."""
        accepted = set(range(first + 1))
        known = {name for i in accepted for name in self.names[i]}
        needed: set[str] = set()
        self._need({name for i in accepted for name in self.uses[i]}, needed)
        if self.asks_for_program:
            self._need({n for i, s in enumerate(self.body) if _is_main_block(s) for n in self.uses[i]}, needed)
        waiting = [i for i in range(first + 1, len(self.body)) if _is_definition(self.body[i]) and not self._is_test(i)]
        for _ in range(_PASSES):
            taken = []
            for i in waiting:
                wanted = self.names[i] & (needed | self.asked)
                if self.names[i] & known or not (wanted or (self.uses[i] & known and not self._is_example(i))):
                    continue
                taken.append(i)
                known |= self.names[i]
                self._need(set(self.uses[i]), needed)
            if not taken:
                break
            accepted |= set(taken)
            waiting = [i for i in waiting if i not in accepted]
        return accepted, needed

    def _need(self, names: set[str], needed: set[str]) -> None:
        """Add `names` to `needed`, and all that the statements which provide them need."""
        queue = list(names - needed)
        needed |= names
        while queue:
            for i in self.providers.get(queue.pop(), ()):
                fresh = self.uses[i] - needed
                needed |= fresh
                queue += fresh

    def _lend_to_next(self, kinds: dict[int, tuple[str, str]], foreign: set[str]) -> None:
        """Imports and assignments before an unrelated piece that uses them are unrelated too."""
        for i in reversed(range(len(self.body) - 1)):
            following = kinds.get(i + 1, (ANSWER, ""))
            prepares = isinstance(self.body[i], _PREPARATIONS)
            if i in kinds and prepares and following[0] == UNRELATED and self.names[i] & (self.uses[i + 1] | foreign):
                kinds[i] = following


def _is_main_block(stmt: ast.stmt) -> bool:
    return isinstance(stmt, ast.If) and "__name__" in ast.dump(stmt.test)


def _decorators(stmt: ast.stmt) -> set[str]:
    """Names of the plain functions, called or not, that decorate a definition."""
    found = [getattr(d, "func", d) for d in getattr(stmt, "decorator_list", [])]
    return {d.id for d in found if isinstance(d, ast.Name)}


def _is_definition(stmt: ast.stmt) -> bool:
    return isinstance(stmt, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def tree_parts(code: str, language: str, prompt: str = "") -> tuple[list[Part], int]:
    """As `python_parts`, for a language with a tree-sitter grammar, up to the first piece that does not parse.

    A definition that stands there a second time word for word is unrelated. In JavaScript and TypeScript, statements
    after the last definition that use one are tests, and a later function or class that shares no name with the rest
    and none with the prompt is unrelated. Other languages have no top-level calls to tell apart.
    """
    data = code[:MAX_CHARS].encode("utf-8", "replace")
    nodes = []
    for node in parse_tree(code[:MAX_CHARS], language).root_node.children:
        if node.has_error:
            break
        nodes.append(node)
    scripted = language in ("javascript", "typescript")
    strangers = _strangers([data[n.start_byte : n.end_byte].decode("utf-8", "replace") for n in nodes], prompt)
    seen: set[bytes] = set()
    names: set[str] = set()
    parts: list[Part] = []
    at, at_byte = 0, 0
    for place, node in enumerate(nodes):
        raw = data[node.start_byte : node.end_byte]
        text = raw.decode("utf-8", "replace")
        stop = at + len(data[at_byte : node.end_byte].decode("utf-8", "replace"))
        at_byte = node.end_byte
        squeezed = b"".join(raw.split())
        kind, why = ANSWER, ""
        if squeezed in seen and len(squeezed) >= 20:
            kind, why = UNRELATED, "defined again"
        elif scripted and place in strangers:
            kind, why = UNRELATED, "another definition"
        elif node.type in _DEFINITIONS:
            names |= set(_DEFINED.findall(text[:400]))
        elif (
            scripted
            and node.type == "expression_statement"
            and not re.match(r"(module\.)?exports\b", text)
            and names & set(re.findall(r"\w+", text[:2000]))
        ):
            kind, why = TESTS, "example"
        seen.add(squeezed)
        if parts and parts[-1].kind == kind:
            parts[-1] = Part(parts[-1].start, stop, kind, parts[-1].why)
        else:
            parts.append(Part(at, stop, kind, why))
        at = stop
    return parts, at


def _strangers(texts: list[str], prompt: str) -> set[int]:
    """Places of functions and classes, after the first, that share no name with the other pieces or the prompt."""
    words = [set(_WORD.findall(text)) for text in texts]
    own = [_FUNCTION.match(text) for text in texts]
    first = next((i for i, match in enumerate(own) if match), len(texts))
    asked = prompt.lower()
    strangers = set()
    for i in range(first + 1, len(texts)):
        match = own[i]
        if match is None:
            continue
        others = [j for j in range(len(texts)) if j != i]
        used = any(match[1] in words[j] for j in others)
        uses = any(other is not None and other[1] in words[i] for j, other in enumerate(own) if j != i)
        wished = any(part.lower() in asked for part in [match[1], *_NAME_PART.findall(match[1])])
        if not (used or uses or wished):
            strangers.add(i)
    return strangers


def code_parts(code: str, language: str | None, prompt: str = "") -> tuple[list[Part], int]:
    """The parts of a program text and where the understood beginning ends; without a parser, all is the answer."""
    if language == "python":
        return python_parts(code, prompt)
    if language is not None and can_parse(language):
        return tree_parts(code, language, prompt)
    return [Part(0, len(code), ANSWER)], len(code)
