"""Where a generation's first complete answer ends, what its code is, and what the text after it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from curate.code.fences import Block, find_blocks
from curate.code.languages import (
    MAX_CHARS,
    NOT_CODE,
    can_parse,
    language_asked,
    mark_hits,
    parses,
)
from curate.code.parts import ANSWER, TESTS, UNRELATED, Part, code_parts, python_parts
from curate.code.python_text import line_starts, parsed_prefix
from curate.code.spans import answer_span, only_tokens, with_line_feeds
from curate.code.unfenced import code_start, language_of, mostly_code, prose_start
from evaluate_suite.answers.turns import new_task, repeated_prose
from evaluate_suite.generation.record import Generation

EMPTY, PROSE, FENCED, BARE, CONTINUATION = "empty", "prose", "fenced", "bare", "continuation"

_INLINE = re.compile(r"(?<!`)`([^`\n]{2,300})`(?!`)")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_DEFINES = re.compile(r"^(?:async )?(?:def|class) \w", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Code:
    """One piece of code in a completion: `completion[start:end]`; `closed` is false for a fence cut short."""

    text: str
    language: str | None
    start: int
    end: int
    closed: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion taken apart.

    `form` says how the answer is written: empty, prose, fenced, bare, or continuation (of a function the prompt began).
    `codes` are all pieces of code as written; `code` is that of the first complete answer, without tests and examples
    (for a continuation: what follows the prompt). `end` is the offset at which the answer ends; `trailing` are the
    parts that are not the answer, in order, of kind tests or unrelated. `language` is that of the code, or None.
    """

    form: str
    language: str | None
    code: str | None
    codes: tuple[Code, ...]
    end: int
    trailing: tuple[Part, ...]


def answer_of(generation: Generation) -> Answer:
    """The completion of `generation` taken apart; the language asked for is only a hint."""
    return split_answer(generation.completion, generation.prompt, generation.language)


@lru_cache(maxsize=64)
def split_answer(completion: str, prompt: str = "", language: str | None = None) -> Answer:
    """Take `completion` apart. Rules of thumb on short answers, each described in docs/metrics/trailing_share.md.

    Time is linear in the text; only the first 200,000 characters are looked at, the rest counts as unrelated.
    """
    start, stop = answer_span(completion[:MAX_CHARS])
    text = with_line_feeds(completion[start:stop])
    answer = Answer(EMPTY, None, None, (), 0, ())
    if text.strip():
        hint = language or language_asked(prompt)
        answer = (
            _continuation(text, prompt)
            or _bare_then_examples(text, prompt, hint)
            or _fenced(text, prompt, hint)
            or _bare(text, prompt, hint)
            or _prose(text, prompt)
        )
    after = [Part(stop, min(len(completion), MAX_CHARS), UNRELATED, "after the end token")]
    if only_tokens(completion[stop:MAX_CHARS]):
        after = []
    if len(completion) > MAX_CHARS:
        after.append(Part(MAX_CHARS, len(completion), UNRELATED, "beyond what is looked at"))
    return _shifted(answer, start, after)


def _shifted(answer: Answer, by: int, after: Sequence[Part]) -> Answer:
    """The answer of a text that begins `by` characters into the completion, with what stands behind that text."""
    codes = tuple(replace(code, start=code.start + by, end=code.end + by) for code in answer.codes)
    trailing = tuple(replace(part, start=part.start + by, end=part.end + by) for part in answer.trailing)
    return replace(answer, codes=codes, end=answer.end + by, trailing=(*trailing, *after))


def _continuation(text: str, prompt: str) -> Answer | None:
    """For a prompt that is the beginning of a function: the answer is the rest of that function and what it uses."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    head = prompt.rstrip()
    begun = re.search(r"^\s*(async )?def \w+", prompt, re.MULTILINE)
    if not begun or not first[:1].isspace() or not head.endswith((":", '"""', "'''")):
        return None
    closing = next(iter(find_blocks(text)), None) if "```" in text or "~~~" in text else None
    if closing is not None and closing.outer_start == closing.start:
        # A lone fence closes what the prompt opened: behind it stands no code of the function.
        answer = _continuation(text[: closing.end] + "\n", prompt)
        cut = new_task(text, prompt, [(0, closing.outer_end)])
        after = [Part(cut, len(text), UNRELATED, "a new task")] if cut < len(text) else []
        return None if answer is None else _shifted(answer, 0, after)
    joined = prompt if prompt.endswith("\n") else prompt + "\n"
    parts, end = python_parts(joined + text, prompt, already=len(joined))
    if not parts or end <= len(joined):
        # Nothing after the prompt parses: all of it is kept, for the parse rate to see.
        return Answer(CONTINUATION, "python", text, (Code(text, "python", 0, len(text)),), len(text), ())
    moved = [
        Part(max(part.start - len(joined), 0), part.end - len(joined), part.kind, part.why)
        for part in parts
        if part.end > len(joined)
    ]
    end -= len(joined)
    stop = max((part.end for part in moved if part.kind == ANSWER), default=0)
    trailing = [part for part in moved if part.kind != ANSWER]
    if text[end:].strip():
        trailing.append(Part(end, len(text), UNRELATED, "does not parse"))
    code = "".join(text[part.start : part.end] for part in moved if part.kind == ANSWER)
    return Answer(CONTINUATION, "python", code, (Code(text, "python", 0, len(text)),), stop, tuple(trailing))


def _bare_then_examples(text: str, prompt: str, hint: str | None) -> Answer | None:
    """For definitions without a fence, before fenced blocks that define nothing: those are examples of their use."""
    blocks = [block for block in find_blocks(text) if block.code.strip()]
    if not blocks or blocks[0].start == blocks[0].outer_start:
        return None
    lead = text[: blocks[0].outer_start]
    if not _DEFINES.search(lead) or any(_DEFINES.search(block.code) for block in blocks):
        return None
    last = lead.rstrip().rpartition("\n")[2]
    if last.endswith(":") and not mark_hits(last):
        lead = lead[: len(lead.rstrip()) - len(last)]  # what announces the example
    answer = _bare(lead, prompt, hint)
    if answer is None or answer.language != "python":
        return None
    ranges = [(0, len(lead)), *((block.outer_start, block.outer_end) for block in blocks)]
    cut = new_task(text, prompt, ranges)
    after = [Part(b.outer_start, b.outer_end, TESTS, "an example in a block") for b in blocks if b.outer_start < cut]
    return _shifted(answer, 0, [*after, *([Part(cut, len(text), UNRELATED, "a new task")] if cut < len(text) else [])])


def _fenced(text: str, prompt: str, hint: str | None) -> Answer | None:
    blocks = [block for block in find_blocks(text) if block.code.strip()]
    if not any(block.tag.lower() not in NOT_CODE for block in blocks):
        return None
    cut = new_task(text, prompt, [(block.outer_start, block.outer_end) for block in blocks])
    codes: list[Code] = []
    trailing: list[Part] = []
    seen: set[str] = set()
    answer_code: str | None = None
    at_answer = 0
    for block in blocks:
        if block.outer_start >= cut:
            break
        squeezed = "".join(block.code.split())
        language = language_of(block.code, block.tag, hint) or hint
        if block.tag.lower() in NOT_CODE:
            kind = TESTS if answer_code is not None else ANSWER
            parts = [Part(0, len(block.code), kind, "shown output")]
        elif squeezed in seen:
            parts = [Part(0, len(block.code), UNRELATED, "the same block again")]
        else:
            codes.append(Code(block.dedented, language, block.start, block.end, block.closed))
            parts = _block_parts(block, language, prompt, codes[:-1])
        seen.add(squeezed)
        if answer_code is None and block.tag.lower() not in NOT_CODE:
            answer_code = "".join(block.code[part.start : part.end] for part in parts if part.kind == ANSWER)
        kinds = {(part.kind, part.why) for part in parts}
        if len(kinds) == 1 and parts[0].kind != ANSWER:
            # A block that is no answer from end to end goes with its fences.
            trailing.append(Part(block.outer_start, block.outer_end, *kinds.pop()))
            continue
        for part in parts:
            if part.kind == ANSWER:
                at_answer = max(at_answer, block.start + part.end)
            else:
                trailing.append(Part(block.start + part.start, block.start + part.end, part.kind, part.why))
    if not codes:
        return None
    if cut < len(text):
        trailing.append(Part(cut, len(text), UNRELATED, "a new task"))
    return Answer(FENCED, codes[0].language, answer_code, tuple(codes), at_answer, tuple(trailing))


def _block_parts(block: Block, language: str | None, prompt: str, before: list[Code]) -> list[Part]:
    """The parts of one block; code that does not parse stays with the answer, where the parse rate sees it."""
    if block.dedented != block.code and _parses_whole(block.dedented, language):
        return [Part(0, len(block.code), ANSWER)]
    parts, end = code_parts(block.code, language, prompt)
    if before and language == "python" and parts and all(part.kind == ANSWER for part in parts):
        earlier = "\n".join(code.text for code in before if code.language == "python")
        # A later block without definitions, whose calls use what an earlier block defined, is an example.
        names = set(re.findall(r"^(?:async )?(?:def|class) (\w+)", earlier, re.MULTILINE))
        own = re.search(r"^\s*(async )?(def|class) (?!test|Test)", block.code, re.MULTILINE)
        if not own and names & set(re.findall(r"\w+", block.code)):
            return [Part(0, len(block.code), TESTS, "an example in a block of its own")]
    if end < len(block.code):
        last = parts[-1] if parts and parts[-1].kind == ANSWER else None
        start = last.start if last else end
        parts = [*(parts[:-1] if last else parts), Part(start, len(block.code), ANSWER)]
    return parts


def _parses_whole(code: str, language: str | None) -> bool:
    """Whether `code` parses in its language, if that is one we can parse."""
    return language is not None and can_parse(language) and parses(code, language)[0]


def _bare(text: str, prompt: str, hint: str | None) -> Answer | None:
    start = code_start(text)
    if start is None:
        return None
    code = text[start:]
    language = "python" if _defines_in_python(code) else language_of(code, None, hint)
    parts, end = code_parts(code, language, prompt)
    if language == "python" and not parts and not mostly_code(code):
        return None
    if language is None or (not parts and not mostly_code(code)):
        return None
    stop = end if language == "python" else max(end, 0)
    region = prose_start(code, stop)
    first_end = next((part.end for part in parts if part.kind == ANSWER), 0)
    cut = new_task(code, prompt, _own_ranges(code, language, first_end))
    region = min(region, cut)
    trailing = [_clip(part, region) for part in parts if part.kind != ANSWER and part.start < region]
    answer_parts = [_clip(part, region) for part in parts if part.kind == ANSWER and part.start < region]
    rest = code[min(end, region) : region]
    if rest.strip():
        if trailing and trailing[-1].end >= min(end, region):
            trailing.append(Part(min(end, region), region, trailing[-1].kind, "cut short"))
        elif language == "python" and rest.lstrip().startswith(">>> "):
            trailing.append(Part(min(end, region), region, TESTS, "an interactive session"))
        elif language == "python" and _starts_another(rest, "".join(code[p.start : p.end] for p in answer_parts)):
            trailing.append(Part(min(end, region), region, UNRELATED, "another definition, cut short"))
        else:
            answer_parts.append(Part(min(end, region), region, ANSWER))
    if cut < len(code):
        trailing.append(Part(cut, len(code), UNRELATED, "a new task"))
    elif (again := repeated_prose(code[region:])) is not None:
        trailing.append(Part(region + again, len(code), UNRELATED, "the same paragraph again"))
    answer_code = "".join(code[part.start : part.end] for part in answer_parts)
    stop = start + max((part.end for part in answer_parts), default=0)
    moved = tuple(Part(part.start + start, part.end + start, part.kind, part.why) for part in trailing)
    whole = Code(code[:region], language, start, start + region)
    return Answer(BARE, language, answer_code, (whole,), stop, moved)


def _defines_in_python(code: str) -> bool:
    """Whether `code` begins as Python with a definition in it, which no other language's code does."""
    tree, _ = parsed_prefix(code)
    return tree is not None and any(isinstance(stmt, _DEFINITIONS) for stmt in tree.body)


def _starts_another(rest: str, answer: str) -> bool:
    """Whether unparsable `rest` begins a definition, after a complete one, that has nothing to do with `answer`."""
    defined = set(re.findall(r"^(?:async )?(?:def|class) (\w+)", answer, re.MULTILINE))
    begun = re.match(r"\s*(?:#[^\n]*\s+)*(?:async )?(?:def|class) (\w+)", rest[:2000])
    return bool(defined and begun and not defined & set(re.findall(r"\w+", rest)) and begun[1] not in answer)


def _clip(part: Part, end: int) -> Part:
    return Part(part.start, min(part.end, end), part.kind, part.why)


def _own_ranges(code: str, language: str | None, fallback: int) -> list[tuple[int, int]]:
    """Where nothing is looked at as a new task: up to the end of the first definition, comments above it included, and
    inside the others, whose docstrings say what is to be written."""
    if language != "python":
        return [(0, fallback if fallback < len(code) else code.find("\n}") + 1)]
    tree, _ = parsed_prefix(code)
    starts = line_starts(code)
    ranges: list[tuple[int, int]] = []
    for stmt in tree.body if tree is not None else ():
        if isinstance(stmt, _DEFINITIONS):
            end = starts[min(stmt.end_lineno or stmt.lineno, len(starts) - 1)]
            ranges.append((starts[stmt.lineno - 1] if ranges else 0, max(end, starts[stmt.lineno - 1] + 1)))
    return ranges or [(0, 0)]


def _prose(text: str, prompt: str) -> Answer:
    cut = new_task(text, prompt, [])
    again = repeated_prose(text[:cut])
    trailing = []
    if again is not None:
        trailing.append(Part(again, cut, UNRELATED, "the same paragraph again"))
    if cut < len(text):
        trailing.append(Part(cut, len(text), UNRELATED, "a new task"))
    end = again if again is not None else cut
    found = [match for match in _INLINE.finditer(text[:end]) if _is_inline_code(match[1])]
    inline = tuple(Code(match[1], None, match.start(1), match.end(1)) for match in found)
    return Answer(PROSE, None, None, inline, end, tuple(trailing))


def _is_inline_code(text: str) -> bool:
    return len(re.findall(r"[^\w\s.,'-]", text)) >= 2
