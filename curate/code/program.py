"""The program in an answer: what the names that are wanted need, over all its blocks, and nothing else."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from curate.code.closure import Unit, closure_of, defines_any, units_of
from curate.code.fences import Block, find_blocks
from curate.code.languages import NOT_CODE, canonical_language, python_tree
from curate.code.python_text import parsed_runs
from curate.code.spans import answer_span, with_line_feeds

_SESSION = re.compile(r"^[ \t]*(?:>>>|\.\.\.)[ \t]?", re.MULTILINE)
_INDENTED = re.compile(r"^[ \t]+(?:@\w|(?:async )?def \w|class \w|import \w|from [\w.]+ import\b)", re.MULTILINE)
_BODY = re.compile(r"\s*^[ \t]+(?!@\w|(?:async )?def \w|class \w|import \w|from [\w.]+ import\b)\S", re.MULTILINE)
# A closing fence at the end of the last line of code.
_GLUED = re.compile(r"^([^`\n]*[^\s`])(`{3,})[ \t]*\r?$", re.MULTILINE)
# A whole fenced block on one line, its language named.
_ONE_LINE = re.compile(r"^(`{3,}(?:python3?|py))[ \t]+([^`\n]+?)[ \t]*(`{3,})[ \t]*$", re.MULTILINE)
_FUTURE = re.compile(r"^from __future__ import [^\n]*\n", re.MULTILINE)
_BEGINS_PROGRAM = re.compile(r"^(?:def |class |import |from [\w.]+ import|async def |@\w)", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A program found in an answer.

    `code` is the closure of the wanted names; `written` is all the text of the blocks (or of the unfenced answer) that
    the closure takes from.
    """

    code: str
    written: str


def python_blocks(text: str) -> list[Block]:
    """Return the fenced blocks of `text` that may be Python: tagged so, or not tagged as anything else we know."""
    return [
        block
        for block in find_blocks(text)
        if canonical_language(block.tag) in (None, "python")
        and block.tag.lower() not in NOT_CODE
        and block.code.strip()
    ]


def find_program(
    answer: str, wanted: Collection[str], prompt_code: str = "", *, continues: bool = False
) -> Program | None:
    """Return the program of `answer` that defines `wanted`; None where the answer holds no code.

    Statements are taken from every block (or from all the text where nothing is fenced): the first complete definition
    of each wanted name, then by fixpoint whatever it needs, assigned and changed in place included. `prompt_code` lends
    its imports and helpers. Where the answer does not define what is wanted and `continues` says that the prompt is the
    beginning of a function, the answer is tried as the rest of it, with the first line's indentation put back where it
    was lost. Where nothing defines it, the first block counts, or else the longest run of code.
    """
    start, end = answer_span(answer)
    text = _GLUED.sub(r"\1\n\2", _ONE_LINE.sub(r"\1\n\2\n\3", with_line_feeds(answer[start:end])))
    if not text.strip():
        return None
    blocks = python_blocks(text)
    texts = [block.dedented for block in blocks] or [text]
    bodies = [*(block.code for block in blocks[:1]), text] if continues else []
    if bodies and _BODY.match(bodies[0]):
        joined = _joined(bodies[:1], prompt_code, wanted)
        if joined is not None:
            return joined
    lent = units_of(prompt_code, -1)
    for candidates in _readings(texts, text):
        units = [unit for place, code in enumerate(candidates) for unit in units_of(code, place)]
        if defines_any(units, wanted):
            return _closed(lent, units, candidates, wanted)
    return _joined(bodies, prompt_code, wanted) or _undefined(texts, fenced=bool(blocks))


def _joined(bodies: Sequence[str], prompt: str, wanted: Collection[str]) -> Program | None:
    """The program that one of `bodies` makes as the rest of the prompt's function."""
    for body in bodies:
        for joined in (join(prompt, body), with_indentation(prompt, body)):
            units = [
                replace(unit, block=-1) if unit.kind == "import" and unit.source in prompt else unit
                for unit in units_of(joined, 0)
            ]
            if defines_any(units, wanted):
                return _closed([], units, [joined], wanted)
    return None


def cut_completion(prompt: str, completion: str, wanted: Collection[str]) -> str | None:
    """Return `prompt` and `completion` as one program without what follows the wanted function; None where that does
    not define it."""
    start, end = answer_span(completion)
    units = units_of(prompt + completion[start:end], 0)
    return _closed([], units, [prompt + completion[start:end]], wanted).code if defines_any(units, wanted) else None


def join(prompt: str, code: str) -> str:
    """Return `code` behind the prompt it continues."""
    return prompt + ("" if prompt.endswith("\n") or not prompt else "\n") + code


def with_indentation(prompt: str, completion: str) -> str:
    """Return the completion behind its prompt, its first line as deep as the prompt's last, deeper behind a colon."""
    last = next((line for line in reversed(prompt.splitlines()) if line.strip()), "")
    depth = len(last) - len(last.lstrip()) + 4 * last.rstrip().endswith(":")
    return join(prompt, " " * depth + completion.lstrip())


def indentation_lost(prompt: str, completion: str) -> bool:
    """Return whether prompt and completion are a program but for the first line's indentation.

    Servers and clients that strip a completion take its leading blanks away.
    """
    return _is_broken(prompt + completion) and not _is_broken(with_indentation(prompt, completion))


def _is_broken(code: str) -> bool:
    """Whether `code` does not compile: it does not parse, or returns outside a function."""
    tree = python_tree(code)
    if isinstance(tree, str):
        return True
    nodes = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Return):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            nodes += ast.iter_child_nodes(node)
    return False


def _readings(texts: list[str], text: str) -> Iterator[list[str]]:
    """The blocks as they stand, dedented, and without the prompts of a session; then what stands outside Python's
    blocks, and all blocks whatever their tags."""
    yield from _layouts(texts)
    blocks = find_blocks(text)
    if blocks:
        kept, at = [], 0
        for block in blocks:
            kept.append(text[at : block.outer_start])
            at = block.outer_end
        yield from _layouts(["\n".join([*kept, text[at:]])])
        yield from _layouts([block.dedented for block in blocks])


def _layouts(texts: list[str]) -> Iterator[list[str]]:
    yield texts
    if any(_INDENTED.search(text) for text in texts):
        yield [_dedented(text) for text in texts]
    if any(">>>" in text for text in texts):
        yield [
            "\n".join(_SESSION.sub("", line) for line in text.splitlines() if _SESSION.match(line)) for text in texts
        ]


def _dedented(text: str) -> str:
    """The stretch of `text` from its first indented definition or import on, as deep as that, dedented."""
    match = _INDENTED.search(text)
    if match is None:
        return text
    depth = len(match[0]) - len(match[0].lstrip())
    kept: list[str] = []
    for line in text[match.start() :].splitlines(keepends=True):
        if line.strip() and not line[:depth].isspace():
            break
        kept.append(line)
    return textwrap.dedent("".join(kept))


def _closed(lent: Sequence[Unit], units: Sequence[Unit], texts: Sequence[str], wanted: Collection[str]) -> Program:
    """The closure of `wanted` over the units of answer and prompt; the text as it stands where that is all of it."""
    everything = [*lent, *units]
    taken = sorted(closure_of(everything, wanted))
    chosen = [everything[place] for place in taken]
    borrowed = [everything[place].source for place in taken if place < len(lent)]
    blocks = sorted({everything[place].block for place in taken if place >= len(lent)} - {-1}) or [0]
    written = _futures_first("\n".join([*borrowed, *(texts[block].rstrip() + "\n" for block in blocks)]))
    whole = len(taken) - len(borrowed) == sum(unit.block in blocks or unit.block < 0 for unit in units)
    if whole and not _is_broken(written):
        return Program(written, written)
    return Program(_futures_first("\n".join(unit.source for unit in chosen)), written)


def _futures_first(code: str) -> str:
    """`code` with its imports from `__future__` at its beginning, where Python wants them."""
    futures = _FUTURE.findall(code)
    return "".join(futures) + _FUTURE.sub("", code) if futures else code


def _undefined(texts: Sequence[str], *, fenced: bool) -> Program | None:
    """What to run of an answer that does not define what is wanted, so that running it says why."""
    if fenced:
        return Program(texts[0], texts[0])
    match = _BEGINS_PROGRAM.search(texts[0])
    if match is None:
        return None
    text = texts[0][match.start() :]
    runs = parsed_runs(text)
    code = text[: runs[0].end] if runs and runs[0].start == 0 else text
    return Program(code, texts[0])
