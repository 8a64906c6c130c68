"""Where answers end and what follows them, against texts labelled by hand: many languages, many ways to go on too long.

The labels are what a reader would strike out, not what the rules happen to do. Known misses are listed by name; a miss
that is mended, or a new one, fails the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from curate.code.parts import ANSWER, TESTS, UNRELATED
from evaluate_suite.answers.first_answer import split_answer

FILE = Path(__file__).with_name("labelled_generations.txt")
KINDS = {"answer": ANSWER, "tests": TESTS, "unrelated": UNRELATED}
MISSED = {"html page again"}


@dataclass(frozen=True)
class Labelled:
    """A prompt, a completion, and the kind of each of its characters."""

    name: str
    prompt: str
    completion: str
    kinds: list[str]

    @property
    def answer_end(self) -> int:
        """Where the answer ends, white space after it not counted."""
        last = max((i for i, kind in enumerate(self.kinds) if kind == ANSWER), default=-1)
        return len(self.completion[: last + 1].rstrip())


def load() -> list[Labelled]:
    """The file's entries: `=== name`, `--- prompt`, then parts under `--- answer`, `--- tests`, `--- unrelated`."""
    found = []
    for entry in FILE.read_text(encoding="utf-8").split("=== ")[1:]:
        name, _, body = entry.partition("\n")
        prompt, completion, kinds = "", "", list[str]()
        for part in ("\n" + body.removesuffix("\n")).split("\n--- ")[1:]:
            kind, _, text = part.partition("\n")
            text += "\n"
            if kind == "prompt":
                prompt = text.rstrip("\n") + ("\n" if text.rstrip().endswith('"""') else "")
                continue
            completion += text
            kinds += [KINDS[kind]] * len(text)
        if name == "windows line ends":
            signs = [sign.replace("\n", "\r\n") for sign in completion]
            kinds = [kind for kind, sign in zip(kinds, signs, strict=True) for _ in sign]
            completion = "".join(signs)
        found.append(Labelled(name, prompt, completion, kinds))
    return found


LABELLED = load()


def judged(entry: Labelled) -> list[str]:
    """The kind our rules give each character."""
    kinds = [ANSWER] * len(entry.completion)
    for part in split_answer(entry.completion, entry.prompt).trailing:
        kinds[part.start : part.end] = [part.kind] * (part.end - part.start)
    return kinds


def agrees(entry: Labelled) -> bool:
    """Whether nearly every visible character outside code fences has the kind a reader gave it."""
    ours = judged(entry)
    seen = [i for i, sign in enumerate(entry.completion) if not sign.isspace() and sign not in "`~"]
    wrong = sum(ours[i] != entry.kinds[i] for i in seen)
    return wrong <= 0.02 * len(seen)


def test_the_set_is_large_and_varied() -> None:
    assert len(LABELLED) >= 80
    assert len({entry.name for entry in LABELLED}) == len(LABELLED)
    assert sum(UNRELATED in entry.kinds for entry in LABELLED) >= 25
    assert sum(TESTS in entry.kinds for entry in LABELLED) >= 15


@pytest.mark.parametrize("entry", LABELLED, ids=lambda entry: entry.name)
def test_a_generation_is_split_as_a_reader_splits_it(entry: Labelled) -> None:
    assert agrees(entry) == (entry.name not in MISSED)


def test_at_most_one_in_twenty_is_missed_and_answers_end_where_readers_end_them() -> None:
    assert len(MISSED) <= 0.05 * len(LABELLED)
    ends = [
        len(entry.completion[: split_answer(entry.completion, entry.prompt).end].rstrip()) - entry.answer_end
        for entry in LABELLED
        if entry.name not in MISSED and ANSWER in entry.kinds
    ]
    # A closing fence and the explanation after code may stand behind the end of the code.
    assert all(end <= 0 for end in ends)
