"""What every metric in the table must keep to, whatever text it meets."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import evaluate_suite.metrics as package
from evaluate_suite.answers.first_answer import split_answer
from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import METRICS, ExecutionOutcome, MetricContext, Score, apply, summarise
from evaluate_suite.metrics.training_corpus import TrainingCorpus
from evaluate_suite.metrics.types import BOUNDS, NEEDS
from evaluate_suite.statistics.types import Estimate

ROOT = Path(__file__).parents[3]
CONTEXT = MetricContext(
    TrainingCorpus([("r0", "for i in range(10):\n    print(i, i * i)\n")]),
    {("p", 0): ExecutionOutcome(passed=True, passed_when_cut=True, runs=True)},
)
PIECES = [
    "```", "```python\n", "~~~", "\n\n", "def f(x):\n", "    return x\n", "class A:\n", "\0", "\ud800", "é",
    "### Instruction:", "Question 1:", "print(f(1))\n", "const a = () => {\n", "}\n", "SELECT * FROM t;\n", "<div>",
    "((((", "'''", '"""', "#", "\r", "\x0c", "\u2028", " ", "word ", "if __name__ == '__main__':\n", "import os\n",
    "x = 1\n", "`a=>{}`", "Write a function", "\\", "🙂",
]  # fmt: skip
texts = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
HOSTILE = {
    "one line of 100 kB": "a" * 100_000,
    "brackets": "(" * 100_000,
    "nested lists": "x = " + "[" * 5_000,
    "minus signs": "x = " + "-" * 50_000 + "1",
    "null bytes": "def f():\n\0\n" * 1000,
    "lone surrogates": "def f():\n    return '\ud800'\n" * 50,
    "fences": "```\n" * 20_000,
    "a fence with a long tag": "```" + "a" * 100_000 + "`",
    "quotes": "'" * 50_000,
    "blank lines": "\n \n " * 25_000,
    "questions": "Question: a\n" * 8_000,
    "one letter questions": "Q:\n" * 25_000,
    "definitions": "def f(x):\n    return x\n" * 3_000,
    "open calls": "def f():\n    return 1\n" + "x(\n" * 15_000,
    "beyond what is looked at": "word " * 60_000,
}


def check(name: str, generation: Generation) -> Score:
    metric = METRICS[name]
    score = apply(metric, generation, CONTEXT)
    assert (score.value is None) == (score.reason is not None)
    if score.value is not None:
        low, high = BOUNDS[metric.kind]
        assert low <= score.value <= high + 1e-9
        assert math.isfinite(score.value)
    assert apply(metric, generation, CONTEXT) == score
    return score


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(completion=texts, prompt=texts, reference=st.none() | texts, stop=st.sampled_from([None, "end_token"]))
def test_a_metric_never_raises_and_keeps_its_bounds(
    name: str, completion: str, prompt: str, reference: str | None, stop: str | None
) -> None:
    check(name, Generation("p", prompt, completion, stop_reason=stop, reference=reference))


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_texts_are_scored_by_every_metric(case: str) -> None:
    for name in METRICS:
        check(name, Generation("p", "reverse a string", HOSTILE[case], 5, "max_new_tokens", reference="abc"))


@settings(max_examples=150, deadline=None)
@given(completion=texts, prompt=texts)
def test_a_completion_is_taken_apart_without_overlap(completion: str, prompt: str) -> None:
    answer = split_answer(completion, prompt)
    assert 0 <= answer.end <= len(completion)
    at = 0
    for part in answer.trailing:
        assert at <= part.start <= part.end <= len(completion)
        at = part.end


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_describes_itself_and_has_its_file_and_its_page(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name
    assert metric.kind in BOUNDS
    assert metric.needs in NEEDS
    assert metric.better in ("higher", "lower")
    assert metric.question.endswith("?")
    assert (Path(package.__file__).parent / f"{name}.py").is_file()
    page = (ROOT / "docs" / "metrics" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {metric.title}\n")
    assert "\n## What it can tell\n" in page
    assert "\n## What it cannot tell\n" in page


@pytest.mark.parametrize("name", METRICS)
def test_a_summary_counts_the_unscored_with_their_reasons(name: str) -> None:
    scores = [Score(1.0), Score(0.0), Score(None, "no_code"), Score(None, "no_code"), Score(None, "too_long")]
    record = summarise(METRICS[name], scores).as_dict()
    low, high = record.pop("interval")
    bounds = BOUNDS[METRICS[name].kind]
    assert bounds[0] <= low <= 0.5 <= high <= bounds[1]
    assert record == {
        "metric": name, "n_scored": 2, "n_unscored": 3, "mean": 0.5, "reasons": {"no_code": 2, "too_long": 1},
    }  # fmt: skip


def test_a_mean_of_nothing_is_none() -> None:
    summary = summarise(METRICS["chrf"], [Score(None, "no_reference")])
    assert summary.estimate == Estimate(None, unscored=1, reason="no reference (1)")


def test_a_prompt_with_several_samples_is_the_unit_of_the_interval() -> None:
    """Ten equal samples of each of four prompts say no more than one of each."""
    one = [Score(1.0), Score(0.0), Score(1.0), Score(0.0)]
    many = summarise(METRICS["answered"], one * 10, list("abcd") * 10).estimate
    single = summarise(METRICS["trailing_share"], one, list("abcd")).estimate
    assert (many.value, many.n) == (0.5, 40)
    assert (many.low, many.high) == pytest.approx((single.low, single.high))
    apart = summarise(METRICS["answered"], one, list("abcd")).estimate
    assert (apart.low, apart.high) != pytest.approx((single.low, single.high))  # one sample a prompt: Wilson's


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(BOUNDS)),
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=2, max_size=12),
)
def test_an_interval_lies_within_what_the_metric_can_be(kind: str, values: list[tuple[int, float]]) -> None:
    low, high = BOUNDS[kind]
    metric = next(metric for metric in METRICS.values() if metric.kind == kind)
    shares = [float(share > 0.5) if kind == "yes_no" else share for _, share in values]
    scores = [Score(low + (high - low) * share) for share in shares]
    for prompts in (None, [prompt for prompt, _ in values]):
        mean = summarise(metric, scores, prompts).estimate
        if mean.low is not None and mean.high is not None:
            assert low <= mean.low <= (mean.value or 0) + 1e-9
            assert (mean.value or 0) - 1e-9 <= mean.high <= high


def test_the_interval_of_a_share_is_wilsons_with_the_effective_number_of_units() -> None:
    """Ten prompts of two equal samples each, eight of which are yes: nine effective units, and Student's t."""
    scores = [Score(float(place < 16)) for place in range(20)]
    mean = summarise(METRICS["answered"], scores, [place // 2 for place in range(20)]).estimate
    assert (round(mean.low or 0, 2), round(mean.high or 0, 2)) == (0.43, 0.96)
