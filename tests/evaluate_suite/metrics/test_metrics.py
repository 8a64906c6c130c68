"""Each metric on generations written by hand, with the exact value it must give."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import METRICS, ExecutionOutcome, MetricContext, apply
from evaluate_suite.metrics.training_corpus import TrainingCorpus

REVERSE = "def rev(s):\n    return s[::-1]\n"
FENCED = f"Here it is:\n\n```python\n{REVERSE}```\n\nIt walks the string backwards.\n"
ASKED = "python function to reverse a string"
CODE = 'from typing import List\n\n\ndef first(xs: List[int]) -> int:\n    """The first of xs."""\n'
BASE = Generation("p1", ASKED, REVERSE, 12, "end_token")

VALUES: list[tuple[str, Generation, float | None, str | None]] = [
    ("answered", BASE, 1.0, None),
    ("answered", replace(BASE, completion=" \n\t"), 0.0, None),
    ("answered", replace(BASE, completion=f"{ASKED}\n{ASKED.upper()}\n"), 0.0, None),
    ("answered", replace(BASE, completion="```\n```\n..."), 0.0, None),
    ("stopped_by_itself", BASE, 1.0, None),
    ("stopped_by_itself", replace(BASE, stop_reason="max_new_tokens"), 0.0, None),
    ("stopped_by_itself", replace(BASE, stop_reason=None), None, "stop_reason_unknown"),
    ("contains_code", BASE, 1.0, None),
    ("contains_code", replace(BASE, completion=FENCED), 1.0, None),
    ("contains_code", replace(BASE, completion="Use slicing with a negative step."), 0.0, None),
    ("contains_code", replace(BASE, completion=r"Use `^([01]\d|2[0-3]):[0-5]\d$` for that."), 1.0, None),
    ("contains_code", replace(BASE, completion="Import the module and call it with a list of names."), 0.0, None),
    ("parse_rate", BASE, 1.0, None),
    ("parse_rate", replace(BASE, completion="def rev(s):\n    return s[::-1\n"), 0.0, None),
    ("parse_rate", replace(BASE, completion="no code at all"), None, "no_code"),
    ("parse_rate", replace(BASE, completion="```regex\n^a+$\n```"), None, "no_parser_for_language"),
    ("parse_rate", replace(BASE, completion="```js\nconst f = (x) => x + 1;\n```"), 1.0, None),
    ("parse_rate", replace(BASE, completion="```js\nconst f = (x => {\n```"), 0.0, None),
    ("parse_rate", replace(BASE, completion="```sql\nSELECT a FROM t WHERE a > 3;\n```"), 1.0, None),
    ("parse_rate", replace(BASE, completion="```python\nx = 1\n```\n\n```python\nx = (\n```"), 0.0, None),
    (
        "parse_rate",
        replace(BASE, prompt='def f(x):\n    """One more."""\n', completion="    return x + 1\n"),
        1.0,
        None,
    ),
    ("parse_rate", replace(BASE, prompt='def f(x):\n    """+1"""\n', completion="    return (\n"), 0.0, None),
    ("language_match", BASE, 1.0, None),
    ("language_match", replace(BASE, completion="```js\nlet x = 1;\n```"), 0.0, None),
    ("language_match", replace(BASE, prompt="reverse a string", completion="```js\n1\n```"), None, "no_language_asked"),
    ("language_match", replace(BASE, completion="You can slice it."), None, "no_code"),
    ("language_match", replace(BASE, language="typescript", completion="```js\nlet x = 1;\n```"), 1.0, None),
    ("language_match", replace(BASE, prompt="regex for a time", completion=REVERSE), None, "language_not_detectable"),
    ("prompt_echo", BASE, 0.0, None),
    ("prompt_echo", replace(BASE, completion=f"# Python  function to reverse a string\n{REVERSE}"), 1.0, None),
    ("prompt_echo", replace(BASE, prompt="fizz", completion="fizz buzz"), 0.0, None),
    ("prompt_echo", replace(BASE, prompt="fizz", completion="# Fizz\nprint(1)"), 1.0, None),
    ("prompt_echo", replace(BASE, prompt=" "), None, "no_prompt"),
    ("repeated_ngrams", replace(BASE, completion="a b c d e f g h"), 0.0, None),
    ("repeated_ngrams", replace(BASE, completion="a b c d a b c d"), 0.2, None),
    ("repeated_ngrams", replace(BASE, completion="a " * 11), 0.875, None),
    ("repeated_ngrams", replace(BASE, completion="a b c"), None, "too_short"),
    ("trailing_share", BASE, 0.0, None),
    ("trailing_share", replace(BASE, completion=FENCED), 0.0, None),
    ("trailing_share", replace(BASE, completion=""), None, "empty"),
    ("well_formed_answer", BASE, 1.0, None),
    ("well_formed_answer", replace(BASE, completion=FENCED), 1.0, None),
    ("well_formed_answer", replace(BASE, stop_reason="max_new_tokens"), 0.0, None),
    ("well_formed_answer", replace(BASE, stop_reason=None), None, "stop_reason_unknown"),
    ("well_formed_answer", replace(BASE, stop_reason=None, completion=""), 0.0, None),
    ("well_formed_answer", replace(BASE, completion=REVERSE + "\nprint(rev('ab'))\n"), 1.0, None),
    ("well_formed_answer", replace(BASE, completion=REVERSE + "\n### Instruction:\nAdd two numbers.\n"), 0.0, None),
    ("well_formed_answer", replace(BASE, completion="def rev(s):\n    return s[::-1\n"), 0.0, None),
    ("well_formed_answer", replace(BASE, completion="def rev(s):\n    return rev(s)\n"), 0.0, None),
    ("well_formed_answer", replace(BASE, completion="def rev(s):\n    t = rev(s[1:])\n    return t\n"), 0.0, None),
    (
        "well_formed_answer",
        replace(BASE, completion="def rev(s):\n    return s and rev(s[1:]) + s[0]\n"),
        1.0,
        None,
    ),
    ("well_formed_answer", replace(BASE, prompt=f"Be brief.\n{ASKED}", completion=f"{ASKED}\n{REVERSE}"), 0.0, None),
    ("prompt_echo", replace(BASE, prompt=CODE, completion=CODE + "    return xs[0]\n"), None, "prompt_is_code"),
    ("prompt_echo", replace(BASE, prompt=f"Be very brief.\n{ASKED}", completion=f"# {ASKED}\nx = 1"), 1.0, None),
    ("prompt_echo", replace(BASE, prompt=f"{ASKED}\ndef rev(s):", completion=REVERSE), 0.0, None),
    ("well_formed_answer", replace(BASE, prompt=CODE, completion=CODE + "    return xs[0]\n"), 1.0, None),
    ("well_formed_answer", replace(BASE, completion=f"<think>\nhm\n</think>\n{REVERSE}</s>"), 1.0, None),
    ("trailing_share", replace(BASE, completion=f"{REVERSE}</s>"), 0.0, None),
    ("chrf", replace(BASE, reference=REVERSE), 100.0, None),
    ("chrf", replace(BASE, completion="xyz", reference="abc"), 0.0, None),
    ("chrf", BASE, None, "no_reference"),
    ("memorisation", BASE, None, "no_training_rows"),
    ("runs", BASE, None, "not_executed"),
    ("passes_tests", BASE, None, "not_executed"),
    ("stop_gap", BASE, None, "not_executed"),
]


@pytest.mark.parametrize(("name", "generation", "value", "reason"), VALUES)
def test_a_metric_gives_the_value_or_the_reason(
    name: str, generation: Generation, value: float | None, reason: str | None
) -> None:
    score = apply(METRICS[name], generation)
    assert (score.value, score.reason) == (pytest.approx(value), reason)


def test_trailing_text_is_split_into_tests_and_unrelated() -> None:
    tests, other = "assert rev('ab') == 'ba'\n", "def add(a, b):\n    return a + b\n"
    score = apply(METRICS["trailing_share"], replace(BASE, completion=f"{REVERSE}\n{tests}\n{other}"))
    signs = [len("".join(text.split())) for text in (REVERSE, tests, other)]
    assert score.detail["tests"] == pytest.approx(signs[1] / sum(signs))
    assert score.detail["unrelated"] == pytest.approx(signs[2] / sum(signs))
    assert score.value == pytest.approx((signs[1] + signs[2]) / sum(signs))
    assert (score.detail["answer_end"], score.detail["why"]) == (len(REVERSE), "another definition")


def test_what_is_missing_for_a_clean_answer_is_named() -> None:
    text = f"{ASKED}\n\n{REVERSE}\nQuestion: what is a list?\nA list is a list.\n"
    score = apply(METRICS["well_formed_answer"], replace(BASE, completion=text, stop_reason="max_new_tokens"))
    assert score.detail["failed"] == ["nothing_unrelated", "no_echo", "stopped_by_itself"]


def test_a_parse_error_names_its_line() -> None:
    score = apply(METRICS["parse_rate"], replace(BASE, completion="```python\nx = 1\ny = = 2\n```"))
    assert score.detail["error"] == "line 2: invalid syntax"


def test_memorisation_finds_the_longest_span_and_its_row() -> None:
    row = "def area(width, height):\n    return width * height"
    corpus = TrainingCorpus([("r0", "print('hello')"), ("r1", row), ("r2", row + " + 1")])
    copied = replace(BASE, completion="def area(width, height):\n        return width * height + 1\n\nx = 2")
    score = apply(METRICS["memorisation"], copied, MetricContext(training=corpus))
    assert score.value == pytest.approx(14 / 17)
    assert (score.detail["tokens"], score.detail["row_id"]) == (14, "r2")
    assert apply(METRICS["memorisation"], replace(BASE, completion="a b"), MetricContext(corpus)).reason == "too_short"
    assert apply(METRICS["memorisation"], BASE, MetricContext(corpus)).value == 0.0


def test_execution_metrics_read_the_outcome_of_their_sample() -> None:
    outcomes = {("p1", 0): ExecutionOutcome(passed=False, passed_when_cut=True, runs=True, reason="wrong_answer")}
    context = MetricContext(outcomes=outcomes)
    values = {name: apply(METRICS[name], BASE, context).value for name in ("runs", "passes_tests", "stop_gap")}
    assert values == {"runs": 1.0, "passes_tests": 0.0, "stop_gap": 1.0}
    assert apply(METRICS["runs"], replace(BASE, sample=1), context).reason == "not_executed"
    stalled = MetricContext(outcomes={("p1", 0): ExecutionOutcome(reason="stalled")})
    assert apply(METRICS["passes_tests"], BASE, stalled).reason == "stalled"


@pytest.mark.parametrize(
    ("prompt", "completion", "value"),
    [
        ("Convert the following C code to Python.\nint main() { return 0; }", "def main():\n    return 0\n", 1.0),
        ("Rewrite this SQL query in Python.\nSELECT * FROM movie", "import sqlite3\n\nprint(1)\n", 1.0),
        (
            "translate this js into a typescript function\nlet f = x => x",
            "```ts\nconst f = (x: number) => x;\n```",
            1.0,
        ),
        ("Convert this Python algorithm to C++.\ndef f(x):\n    return x\n", "def f(x):\n    return x\n", 0.0),
        ("python function that converts json to csv", "def convert(text):\n    return text\n", 1.0),
        ("C# program that adds", "public static int Add(int a, int b)\n{\n    return a + b;\n}\n", 1.0),
        ("python dictionary of a film", 'film = {\n    "title": "x",\n    "year": 1\n}', 1.0),
        ("python dictionary of a film", "public class Film {\n    private int year;\n}", 0.0),
    ],
)
def test_the_language_asked_for_is_the_one_translated_into_and_lookalikes_must_parse(
    prompt: str, completion: str, value: float
) -> None:
    assert apply(METRICS["language_match"], Generation("p", prompt, completion)).value == value
