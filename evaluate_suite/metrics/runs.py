"""Does the code run without an exception? (Needs execution.)"""

from __future__ import annotations

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import ExecutionOutcome, Metric, Score


def score(generation: Generation, outcome: ExecutionOutcome) -> Score:
    """1 when the code ended without an exception in the sandbox, 0 when not; absent when it was not run."""
    if outcome.runs is None:
        return Score(None, outcome.reason or "not_executed")
    return Score(float(outcome.runs), detail={"reason": outcome.reason})


METRIC = Metric("runs", "runs", "Does the code run without an exception?", score, needs="execution")
