"""What does not stopping cost? (Needs execution.)"""

from __future__ import annotations

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import GAP, ExecutionOutcome, Metric, Score


def score(generation: Generation, outcome: ExecutionOutcome) -> Score:
    """Passed when cut at the end of the first complete answer, minus passed as written: 1, 0 or -1.

    The mean over prompts is pass@1 cut minus pass@1 raw. Above 0, text after the answer breaks answers that are right.
    """
    if outcome.passed is None or outcome.passed_when_cut is None:
        return Score(None, outcome.reason or "not_executed")
    return Score(float(outcome.passed_when_cut) - float(outcome.passed))


METRIC = Metric(
    "stop_gap", "stop gap", "How many answers are spoilt by the text after them?", score, GAP, "lower", "execution"
)
