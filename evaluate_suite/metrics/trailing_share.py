"""How much text stands after the first complete answer?"""

from __future__ import annotations

from curate.code.parts import TESTS
from evaluate_suite.answers.first_answer import answer_of
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import SHARE, Metric, Score


def score(generation: Generation) -> Score:
    """The share of visible signs that are self-written tests, example calls, or unrelated to the answer.

    `detail` has both shares (`tests`, `unrelated`; they add up to the value), the end of the answer as an offset, and
    the rule that found the first unrelated piece. Explanation after the code is part of the answer.
    """
    answer = answer_of(generation)
    text = generation.completion
    total = visible(text)
    if total == 0:
        return Score(None, "empty")
    counts = {"tests": 0, "unrelated": 0}
    for part in answer.trailing:
        counts["tests" if part.kind == TESTS else "unrelated"] += visible(text[part.start : part.end])
    why = next((part.why for part in answer.trailing if part.kind != TESTS), None)
    detail = {"tests": counts["tests"] / total, "unrelated": counts["unrelated"] / total, "answer_end": answer.end}
    share = (counts["tests"] + counts["unrelated"]) / total
    return Score(share, detail=detail if why is None else {**detail, "why": why})


def visible(text: str) -> int:
    """Signs that are not white space."""
    return sum(len(word) for word in text.split())


METRIC = Metric(
    "trailing_share",
    "trailing text",
    "How much stands after the first complete answer?",
    score,
    kind=SHARE,
    better="lower",
)
