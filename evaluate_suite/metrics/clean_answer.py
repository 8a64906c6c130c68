"""One number: is this an answer a user could take as it is?"""

from __future__ import annotations

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import answered, parse_rate, prompt_echo, stopped_by_itself, trailing_share
from evaluate_suite.metrics.types import Metric, Score


def score(generation: Generation) -> Score:
    """1 when it answers, stops by itself, parses, has nothing unrelated after it and no echo of the prompt; else 0.

    Code that cannot be checked, or none, is no fault. Where it is not known how the text ended, the score is 0 if
    another condition fails and absent otherwise. `detail` says which conditions failed.
    """
    trailing = trailing_share.score(generation)
    checks = {
        "answered": answered.score(generation).value == 1,
        "parses": parse_rate.score(generation).value != 0,
        "nothing_unrelated": not trailing.detail.get("unrelated"),
        "no_echo": prompt_echo.score(generation).value != 1,
    }
    stopped = stopped_by_itself.score(generation).value
    if stopped is not None:
        checks["stopped_by_itself"] = stopped == 1
    failed = [name for name, good in checks.items() if not good]
    if stopped is None and not failed:
        return Score(None, "stop_reason_unknown")
    return Score(float(not failed), detail={"failed": failed})


METRIC = Metric("clean_answer", "clean answer", "Could a user take it as it is?", score)
