"""Did the model end its answer, or did the token limit?"""

from __future__ import annotations

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import Metric, Score


def score(generation: Generation) -> Score:
    """1 when the model produced its end token, 0 when `max_new_tokens` cut it; absent when nobody recorded which."""
    if generation.stop_reason is None:
        return Score(None, "stop_reason_unknown")
    return Score(float(generation.stop_reason == "end_token"), detail={"new_tokens": generation.new_tokens})


METRIC = Metric("stopped_by_itself", "stopped by itself", "Did the model end by itself, before the token limit?", score)
