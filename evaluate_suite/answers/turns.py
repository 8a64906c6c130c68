"""Where a text goes on to something new: another task or turn, the prompt again, a paragraph for the second time."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache
from itertools import islice

from curate.code.languages import mark_hits
from curate.code.unfenced import looks_like_prose

_COMMENT = r"(?:#+|//+|--|\*+|/\*+|<!--|\"\"\"|''')?[ \t]*"
_NEW_TASK = re.compile(
    rf"^{_COMMENT}(?:\*\*)?(?:"
    r"(?:instruction|response|user|human|prompt)s?[ \t]*\d{0,3}[ \t]*:"
    r"|(?<=### )(?:input|output)[ \t]*:"
    r"|(?:question|exercise|problem|task|challenge|assignment|q)[ \t]*(?:#?\d{1,3}[ \t]*[:.)]|:)"
    r"|(?:question|exercise|problem|task|challenge|assignment)[ \t]+#?\d{1,3}\b"
    r"|\[/?INST\]|<\|(?:im_start|im_end|user|assistant|endoftext)\|>|</?s>"
    r"|(?:write|create|implement|design|develop|build|generate|construct)[ \t]+(?:me[ \t]+)?(?:an?|the|some)[ \t]+"
    r"(?:[\w+#-]{1,20}[ \t]+){0,4}(?:function|program|script|class|query|method|algorithm|application|regex)\b(?!es)"
    r")",
    re.IGNORECASE | re.MULTILINE,
)
_WORD = re.compile(r"[^\W\d_]{2,}")


def new_task(text: str, prompt: str, closed: list[tuple[int, int]]) -> int:
    """Where a new task or turn begins after the answer began, outside the `closed` stretches; else the text's end."""
    asked = asked_lines(prompt)
    places = [match.start() for match in _NEW_TASK.finditer(text)]
    begun, at = 0, 0
    for line in text.splitlines(keepends=True):
        if asked and squeeze(line.strip().strip("#/*-\"' ")) in asked:
            places.append(at)
            begun = at + len(line) if not text[begun:at].strip() else begun
        at += len(line)
    words = _WORD.finditer(text, begun)
    third = next(islice(words, 2, None), None)
    if third is None:
        return len(text)
    starts = [start for start, _ in closed]
    for place in sorted(places):
        index = bisect_right(starts, place) - 1
        if place >= third.end() and (index < 0 or place >= closed[index][1]):
            return place
    return len(text)


@lru_cache(maxsize=64)
def asked_lines(prompt: str) -> tuple[str, ...]:
    """Return the first and the last line of the prompt where they are prose, folded; once where they are the same.

    Lines of fewer than three words are too few to recognise, and a line of code or data may well be repeated by an
    answer: the last must read like a sentence.
    """
    lines = [line for line in prompt.splitlines() if line.strip()]
    ends = [line for line in lines[:1] if not _is_code(line)] + [line for line in lines[-1:] if looks_like_prose(line)]
    return tuple(dict.fromkeys(line for line in map(squeeze, ends) if len(line.split()) >= 3))


def _is_code(line: str) -> bool:
    return line[:1].isspace() or (not looks_like_prose(line) and bool(mark_hits(line)))


def squeeze(text: str) -> str:
    """`text` with case folded and every run of white space made one blank."""
    return " ".join(text.casefold().split())


def repeated_prose(text: str) -> int | None:
    """Offset of the first paragraph of at least 30 characters that stood there before."""
    seen: set[str] = set()
    start, at, lines = 0, 0, list[str]()
    for line in [*text.splitlines(keepends=True), "\n"]:
        if line.strip():
            start = start if lines else at
            lines.append(line)
        elif lines:
            paragraph = squeeze("".join(lines))
            if len(paragraph) >= 30 and paragraph in seen:
                return start
            seen.add(paragraph)
            lines = []
        at += len(line)
    return None
