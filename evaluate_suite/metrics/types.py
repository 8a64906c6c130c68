"""What a metric is: a score with a reason where it is absent, the metric's description, and the summary of many."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics.training_corpus import TrainingCorpus
from evaluate_suite.statistics.bounded import bounded_mean_interval
from evaluate_suite.statistics.pairs import share_with_interval
from evaluate_suite.statistics.types import Estimate

YES_NO, SHARE, GAP, POINTS = "yes_no", "share", "gap", "points"
BOUNDS = {YES_NO: (0.0, 1.0), SHARE: (0.0, 1.0), GAP: (-1.0, 1.0), POINTS: (0.0, 100.0)}
NEEDS = ("generation", "reference", "training_rows", "execution")


@dataclass(frozen=True, slots=True)
class Score:
    """One metric's value for one generation; where `value` is None, `reason` says why. `detail` is for the reader."""

    value: float | None
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExecutionOutcome:
    """What running a generation showed; a field is None where it was not tried.

    `runs`: it ended without an exception; `passed`: the task's tests passed on the text as written; `passed_when_cut`:
    they passed on the code cut at the end of the first complete answer. `reason` is the sandbox's word for it.
    """

    passed: bool | None = None
    passed_when_cut: bool | None = None
    runs: bool | None = None
    reason: str | None = None


@dataclass(frozen=True)
class MetricContext:
    """What some metrics need beyond the generation: the training rows, and outcomes by (prompt_id, sample)."""

    training: TrainingCorpus | None = None
    outcomes: Mapping[tuple[str, int], ExecutionOutcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """A line of the table. `kind`: yes_no (0 or 1), or one of the other BOUNDS; `needs`: one of NEEDS.

    `better` is "higher" or "lower". `score` takes the generation, and for the needs training_rows and execution the
    corpus or outcome as its second argument. On a `headline` metric a report compares every two models; on the others
    it compares each run with the base model.
    """

    name: str
    title: str
    question: str
    score: Callable[..., Score]
    kind: str = YES_NO
    better: str = "higher"
    needs: str = "generation"
    headline: bool = False


def apply(metric: Metric, generation: Generation, context: MetricContext | None = None) -> Score:
    """The metric's score for one generation; what it needs and `context` lacks is the reason of an absent score."""
    context = context or MetricContext()
    if metric.needs == "training_rows":
        if context.training is None:
            return Score(None, "no_training_rows")
        return metric.score(generation, context.training)
    if metric.needs == "execution":
        outcome = context.outcomes.get((generation.prompt_id, generation.sample))
        return Score(None, "not_executed") if outcome is None else metric.score(generation, outcome)
    return metric.score(generation)


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """Many scores of one metric: their mean with its interval, and how often there is none for which reason."""

    metric: str
    estimate: Estimate
    reasons: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON has it."""
        mean = self.estimate
        return {
            "metric": self.metric,
            "n_scored": mean.n,
            "n_unscored": mean.unscored,
            "mean": mean.value,
            "interval": None if mean.low is None else [mean.low, mean.high],
            "reasons": dict(self.reasons),
        }


def summarise(metric: Metric, scores: Sequence[Score], prompts: Sequence[Hashable] | None = None) -> MetricSummary:
    """Return the summary of one metric's scores, with an interval that stays within what the metric can be.

    `prompts` tells whose samples the scores are: where a prompt has several, it is the unit of the interval, because
    samples of one prompt are alike. Yes or no with one sample a prompt has Wilson's interval.
    """
    values = [score.value for score in scores if score.value is not None]
    reasons = dict(sorted(Counter(score.reason or "unknown" for score in scores if score.value is None).items()))
    unscored = len(scores) - len(values)
    if not values:
        why = ", ".join(f"{reason.replace('_', ' ')} ({n})" for reason, n in reasons.items()) or "nothing to score"
        return MetricSummary(metric.name, Estimate(None, unscored=unscored, reason=why), reasons)
    groups = _by_prompt(scores, prompts)
    if groups is None and metric.kind == YES_NO:
        estimate = share_with_interval(int(sum(values)), len(values))
    else:
        units = groups if groups is not None else [[value] for value in values]
        estimate = bounded_mean_interval(
            [sum(unit) for unit in units], BOUNDS[metric.kind], [len(unit) for unit in units]
        )
    mean = math.fsum(values) / len(values)
    return MetricSummary(metric.name, Estimate(mean, estimate.low, estimate.high, len(values), unscored), reasons)


def _by_prompt(scores: Sequence[Score], prompts: Sequence[Hashable] | None) -> list[list[float]] | None:
    """The values of every prompt; None where each has one at most."""
    groups: dict[Hashable, list[float]] = {}
    for prompt, score in zip(prompts or (), scores, strict=False):
        if score.value is not None:
            groups.setdefault(prompt, []).append(score.value)
    return list(groups.values()) if any(len(group) > 1 for group in groups.values()) else None
