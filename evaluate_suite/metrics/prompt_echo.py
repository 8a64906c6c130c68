"""Is the prompt repeated in the completion?"""

from __future__ import annotations

from evaluate_suite.answers.turns import asked_lines, squeeze
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import Metric, Score

_SIGNS = "#/*-\"' "


def score(generation: Generation) -> Score:
    """Return 1 when the completion holds the prompt's first line of prose, or its last as a line of its own, else 0.

    Case, white space and comment signs do not matter. A prompt of fewer than three words is only looked for as a line
    of its own. Repeating the prompt's code is no echo: its signature and imports belong into an answer. Absent where
    the prompt is nothing but code.
    """
    if not generation.prompt.strip():
        return Score(None, "no_prompt")
    whole = squeeze(generation.prompt)
    asked = asked_lines(generation.prompt)
    if not asked and len(whole.split()) >= 3:
        return Score(None, "prompt_is_code")
    lines = {squeeze(line.strip().strip(_SIGNS)) for line in generation.completion.splitlines()}
    if asked:
        return Score(float(asked[0] in squeeze(generation.completion) or asked[-1].strip(_SIGNS) in lines))
    return Score(float(whole in lines))


METRIC = Metric("prompt_echo", "prompt echoed", "Is the question repeated in the answer?", score, better="lower")
