"""How near is the completion to the reference, sign by sign?"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sacrebleu.metrics.chrf import CHRF

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import POINTS, Metric, Score

MAX_CHARS = 50_000


@lru_cache(maxsize=1)
def _chrf() -> Any:
    return CHRF()


def score(generation: Generation) -> Score:
    """chrF (Popović, 2015) of the completion against the reference, 0 to 100, as sacrebleu computes it by default.

    Character 1- to 6-grams without white space, beta 2. Absent without a reference, or with more than 50,000 signs.
    """
    if generation.reference is None or not generation.reference.strip():
        return Score(None, "no_reference")
    if max(len(generation.completion), len(generation.reference)) > MAX_CHARS:
        return Score(None, "too_long")
    return Score(float(_chrf().sentence_score(generation.completion, [generation.reference]).score))


METRIC = Metric("chrf", "chrF", "How near is the text to the reference?", score, kind=POINTS, needs="reference")
