"""Does the code in the completion parse?"""

from __future__ import annotations

from curate.code.languages import MAX_CHARS, can_parse, parses
from evaluate_suite.answers.first_answer import CONTINUATION, answer_of
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import Metric, Score


def score(generation: Generation) -> Score:
    """1 when every piece of code whose language we can parse does parse (Python by `ast`, others by tree-sitter).

    For a continuation the prompt and the completion are parsed together. Absent without code, without a language we
    can parse, or beyond 200,000 characters. It is a parse check: nothing is said about what the code does.
    """
    answer = answer_of(generation)
    if not answer.codes:
        return Score(None, "no_code")
    if len(generation.completion) > MAX_CHARS:
        return Score(None, "too_long")
    checked = [code for code in answer.codes if code.language and can_parse(code.language)]
    if not checked:
        return Score(
            None, "no_parser_for_language", {"languages": sorted({c.language or "unknown" for c in answer.codes})}
        )
    errors = []
    for code in checked:
        text = code.text
        if answer.form == CONTINUATION:
            text = f"{generation.prompt.removesuffix(chr(10))}\n{text}"
        good, error = parses(text, str(code.language))
        if not good:
            errors.append(error)
    detail = {"pieces": len(checked), "unparsed": len(errors), "language": checked[0].language}
    return Score(float(not errors), detail={**detail, "error": errors[0]} if errors else detail)


METRIC = Metric("parse_rate", "parse rate", "Does the code parse, in its language?", score)
