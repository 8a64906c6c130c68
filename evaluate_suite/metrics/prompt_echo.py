"""Is the prompt repeated in the completion?"""

from __future__ import annotations

from evaluate_suite.answers.first_answer import asked_line, squeeze
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import Metric, Score


def score(generation: Generation) -> Score:
    """1 when the completion holds the prompt's first line (or the whole prompt) word for word, else 0.

    Case and white space do not matter. Prompts whose first line has fewer than three words are only looked for as a
    line of their own. The first line is what people ask; code they pasted below it is often repeated for good reason.
    """
    if not generation.prompt.strip():
        return Score(None, "no_prompt")
    asked = asked_line(generation.prompt)
    if asked:
        echoed = asked in squeeze(generation.completion)
    else:
        whole = squeeze(generation.prompt)
        echoed = any(squeeze(line.strip().strip("#/*-\"' ")) == whole for line in generation.completion.splitlines())
    return Score(float(echoed))


METRIC = Metric("prompt_echo", "prompt echoed", "Is the question repeated in the answer?", score, better="lower")
