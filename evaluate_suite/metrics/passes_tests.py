"""Does the code pass the task's tests? (Needs execution.)"""

from __future__ import annotations

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import ExecutionOutcome, Metric, Score


def score(generation: Generation, outcome: ExecutionOutcome) -> Score:
    """1 when the text as written passes the task's tests, 0 when not; absent when it was not run."""
    if outcome.passed is None:
        return Score(None, outcome.reason or "not_executed")
    return Score(float(outcome.passed), detail={"reason": outcome.reason})


METRIC = Metric(
    "passes_tests", "passes tests", "Does the code pass the task's tests?", score, needs="execution", headline=True
)
