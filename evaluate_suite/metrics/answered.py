"""Did the model write anything of its own?"""

from __future__ import annotations

from evaluate_suite.answers.turns import squeeze
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import Metric, Score


def score(generation: Generation) -> Score:
    """1 when the completion holds a letter or digit that is not part of a repetition of the whole prompt, else 0."""
    text = squeeze(generation.completion)
    asked = squeeze(generation.prompt)
    own = text.replace(asked, " ") if asked else text
    written = any(sign.isalnum() for sign in own)
    return Score(float(written), detail={"chars": len(generation.completion)})


METRIC = Metric("answered", "answered", "Is there any text of the model's own?", score)
