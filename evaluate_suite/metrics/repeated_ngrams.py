"""How much of the completion says the same again?"""

from __future__ import annotations

import re

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import SHARE, Metric, Score

N = 4
_TOKEN = re.compile(r"\w+|[^\w\s]")


def score(generation: Generation) -> Score:
    """The share of repeated 4-grams: 1 - distinct / all, over words and signs (seq-rep-4, Welleck et al., 2019).

    Absent below 8 words and signs, where the figure jumps.
    """
    tokens = _TOKEN.findall(generation.completion)
    if len(tokens) < 2 * N:
        return Score(None, "too_short", {"tokens": len(tokens)})
    grams = [tuple(tokens[i : i + N]) for i in range(len(tokens) - N + 1)]
    return Score(1 - len(set(grams)) / len(grams), detail={"grams": len(grams), "distinct": len(set(grams))})


METRIC = Metric(
    "repeated_ngrams", "repeated 4-grams", "How much of the text is repetition?", score, kind=SHARE, better="lower"
)
