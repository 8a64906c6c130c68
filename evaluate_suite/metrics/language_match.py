"""Is the code in the language that was asked for?"""

from __future__ import annotations

from curate.code.languages import MAX_CHARS, SIBLINGS, canonical_language, language_asked, parses
from evaluate_suite.answers.first_answer import BARE, answer_of
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.types import Metric, Score

# Short texts of the first are often read as one of the others; what was asked for decides, where the code parses as it.
LOOKALIKES = (*SIBLINGS, frozenset({"java", "csharp", "cpp", "php"}), frozenset({"python", "json"}))


def score(generation: Generation) -> Score:
    """1 when the language given is the one asked for (the generation's `language`, else what the prompt names).

    One of two languages that look alike in a short text (C and C++, JavaScript and TypeScript, Java and C#, a page's
    HTML, CSS and script) counts for the other when the code, or the whole text where nothing fences it, parses as what
    was asked. Absent when no language was asked for, none can be made out, or a regular expression was asked for, which
    has no look of its own.
    """
    asked = canonical_language(generation.language) or language_asked(generation.prompt)
    if asked is None:
        return Score(None, "no_language_asked")
    if asked == "regex":
        return Score(None, "language_not_detectable")
    answer = answer_of(generation)
    if not answer.codes:
        return Score(None, "no_code")
    languages = [code.language for code in answer.codes if code.language is not None]
    if not languages:
        return Score(None, "language_not_detectable")
    detail = {"asked": asked, "given": languages[0]}
    if asked in languages:
        return Score(1.0, detail=detail)
    alike = any(asked in group and languages[0] in group for group in LOOKALIKES)
    texts = [answer.codes[0].text, *([generation.completion[:MAX_CHARS]] if answer.form == BARE else [])]
    return Score(float(alike and any(parses(text, asked)[0] for text in texts)), detail=detail)


METRIC = Metric("language_match", "language asked for", "Is the code in the language asked for?", score)
