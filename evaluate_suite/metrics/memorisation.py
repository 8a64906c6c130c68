"""How long a piece of the completion is copied from the training rows?"""

from __future__ import annotations

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.training_corpus import SEED, TrainingCorpus, tokenise
from evaluate_suite.metrics.types import SHARE, Metric, Score


def score(generation: Generation, training: TrainingCorpus) -> Score:
    """The longest span copied from one training output, as a share of the completion's words and signs.

    Spans below 8 count as none (value 0). Absent when the completion itself has fewer than 8. `detail` has the span's
    length, its text and the row it stands in.
    """
    total = len(tokenise(generation.completion))
    if total < SEED:
        return Score(None, "too_short", {"tokens": total})
    span = training.longest_copy(generation.completion)
    detail = {"tokens": span.tokens, "row_id": span.row_id, "text": span.text[:500]}
    return Score(span.tokens / total, detail=detail if span.tokens else {"tokens": 0})


METRIC = Metric(
    "memorisation",
    "longest copied span",
    "How much is one span copied from a training row?",
    score,
    kind=SHARE,
    better="lower",
    needs="training_rows",
)
