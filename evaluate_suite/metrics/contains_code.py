"""Is there code in the completion?"""

from __future__ import annotations

from evaluate_suite.answers.first_answer import answer_of
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import Metric, Score


def score(generation: Generation) -> Score:
    """1 when the completion holds a fenced block, bare code, or inline code with signs in it; else 0."""
    answer = answer_of(generation)
    detail = {"form": answer.form, "language": answer.language, "pieces": len(answer.codes)}
    return Score(float(bool(answer.codes)), detail=detail)


METRIC = Metric("contains_code", "contains code", "Is there any code in the answer?", score)
