"""A generator of training histories with a planted, so known, verdict: curves without noise, then what spoils them.

Every history has its own scale, length, logging interval, noise, gaps and restarts. A label is a fact about the curve
without noise; what lies between two labels (a rise of 1%, say) is not generated, because people would not agree on it.

Three labels are remarks that stand beside a verdict: noisy batches beside a smooth eval curve (which is good), an eval
curve that swings, and held-out rows that are trained on. What only looks like a leak is planted among all others:
train losses that are sums over accumulated batches, or are taken with dropout.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from evaluate_suite.training_curve.types import HistoryPoint, Verdict

WORDS = {  # what is to be said of the histories of a label
    "underfit": {"underfit"},
    "good": {"good"},
    "overfit": {"overfit"},
    "diverged": {"diverged"},
    "too_short": {"too_short"},
    "noisy_batches": {"good", "noisy_batches"},
    "unstable": {"unstable"},
    "leaking": {"leaking"},
}
LABELS = tuple(WORDS)
ANY_VERDICT = ("unstable", "leaking")  # labels under which the verdict beside the remark is not judged
TUNING_SEEDS = range(150)  # thresholds were chosen on these
HELD_OUT_SEEDS = range(20_000, 20_150)  # and are judged on these
FLAT = 0.005  # eval points this near to the lowest, relative to it, are one bottom


@dataclass(frozen=True)
class PlantedHistory:
    """A history with its label; `eval_steps` and `true_evals` are its eval points and their loss without noise."""

    label: str
    points: list[HistoryPoint]
    eval_steps: list[int]
    true_evals: list[float]

    @property
    def true_best(self) -> int:
        """The eval step with the lowest loss without noise."""
        return self.eval_steps[self.true_evals.index(min(self.true_evals))]

    @property
    def true_onset(self) -> int | None:
        """The first eval step after it."""
        place = self.eval_steps.index(self.true_best) + 1
        return self.eval_steps[place] if place < len(self.eval_steps) else None


@dataclass
class _Curve:
    """Loss without noise over the share of training done, 0 to 1, for train and eval."""

    rng: random.Random
    label: str

    def __post_init__(self) -> None:
        rng, label = self.rng, self.label
        self.floor = rng.choice([0.15, 0.5, 1.0, 2.0]) * rng.uniform(0.7, 1.5)
        self.gain = self.floor * rng.uniform(0.25, 2.0)
        self.tau = rng.uniform(0.06, 0.2)
        self.power = rng.random() < 0.3  # a heavy tail in place of an exponential one
        self.gap = rng.uniform(-0.05, 0.25)
        self.turn = rng.uniform(0.2, 0.7)
        self.rise = rng.uniform(0.05, 0.6)
        self.bend = rng.uniform(1.0, 2.0)
        self.slide = rng.uniform(0.0, 0.25)  # how far train loss goes on falling while eval loss rises
        self.burst = rng.uniform(0.3, 0.8)
        self.height = rng.uniform(1.8, 6.0)
        self.sudden = rng.random() < 0.5
        self.leak = rng.uniform(0.15, 0.6)
        apart = random.Random(f"{label}-{self.floor}")  # so that the numbers above stay what they were
        self.train_scale = apart.choice([1.0, 1.0, 1.0, 1.4, 8.0, 32.0])  # of means, with dropout, of sums
        self.levels_off = apart.random() < 0.3
        self.cosine = apart.random() < 0.3
        if label == "underfit":
            self.power = False
            self.slow = rng.choice(["linear", "long", "flat"])
            self.tau = rng.uniform(0.6, 2.0)
            self.flat_gain = rng.uniform(0.0, 0.008)

    def _fall(self, t: float) -> float:
        if self.cosine and self.label in ("good", "noisy_batches"):  # the rate falls to 0: so does the slope
            t = t + math.sin(math.pi * t) / math.pi
        if self.label == "underfit":
            if self.slow == "linear":
                return self.gain * (1 - 0.9 * t)
            if self.slow == "flat":
                return self.gain * (1 - self.flat_gain * t)
        if self.power:
            return float(self.gain * ((1 + t / (0.2 * self.tau)) ** -1.2 - 0.3 * (1 + 5) ** -1.2))
        return self.gain * math.exp(-t / self.tau)

    def train(self, t: float) -> float:
        level = self.floor + self._fall(t)
        if self.label == "overfit":
            level *= 1 - (self.slide + 0.3 * self.rise) * t
        return level * self._burst(t) * (1.0 if self.label == "leaking" else self.train_scale)

    def eval(self, t: float) -> float:
        if self.label == "leaking":  # as good as any other row at first, known by heart at the end
            return (self.floor + self._fall(t)) * (1 - (1 - self.leak) * float(t**1.5))
        level = (1 + self.gap) * (self.floor + self._fall(t))
        if self.label == "overfit" and t > self.turn:
            past = (t - self.turn) / (1 - self.turn)
            level += self.rise * self.floor * (1 - math.exp(-4 * past) if self.levels_off else past**self.bend)
        return level * self._burst(t)

    def _burst(self, t: float) -> float:
        if self.label != "diverged" or t <= self.burst:
            return 1.0
        past = (t - self.burst) / (1 - self.burst)
        return self.height if self.sudden else 1 + (self.height - 1) * past


def plant(label: str, seed: int) -> PlantedHistory:
    """The history of this label and seed; equal arguments, equal history."""
    rng = random.Random(f"{'unstable' if label == 'noisy_batches' else label}-{seed}")
    curve = _Curve(rng, label)
    n_evals = rng.randint(1, 3) if label == "too_short" else rng.choice([5, 6, 8, 10, 12, 16, 20, 30, 40])
    every = rng.choice([1, 5, 10, 20, 50, 100, 250])
    logs = rng.choice([1, 1, 2, 5, 10]) if every > 1 else 1
    while label == "overfit" and curve.eval(1.0) < 1.02 * min(curve.eval(i / n_evals) for i in range(1, n_evals + 1)):
        curve.rise *= 1.5  # a fall that goes on hid the rise
    spiky = label in ("noisy_batches", "unstable")
    # A mean over logged steps of small batches; eval loss is always of the same rows, so it moves much less.
    train_noise = rng.uniform(0.2, 0.5) if spiky else rng.uniform(0.0, 0.06)
    eval_noise = rng.uniform(0.0, 0.03) if spiky else rng.choice([0.0, rng.uniform(0.0, 0.01)])
    if label == "unstable":
        eval_noise = rng.uniform(0.3, 0.6)
    if spiky:
        logs = max(logs, 2 if every > 1 else 1)
        n_evals = max(n_evals, 10)
    last = n_evals * every
    steps = sorted({max(1, round(i * every / logs)) for i in range(1, n_evals * logs + 1)})
    eval_steps = [i * every for i in range(1, n_evals + 1)]
    train = {s: curve.train(s / last) * math.exp(rng.gauss(0, train_noise)) for s in steps}
    if spiky and rng.random() < 0.4:
        train = {s: curve.train(s / last) * (rng.uniform(1.8, 4) if rng.random() < 0.25 else 1) for s in steps}
        train = {s: v * math.exp(rng.gauss(0, 0.05)) for s, v in train.items()}
    evals = {s: curve.eval(s / last) * math.exp(rng.gauss(0, eval_noise)) for s in eval_steps}
    if label not in ("too_short", "overfit") and rng.random() < 0.15:
        evals = {s: v for s, v in evals.items() if s == last or rng.random() > 0.15 or len(evals) < 7}
    if rng.random() < 0.15 and not spiky:
        train = {s: v for s, v in train.items() if rng.random() > 0.2}
    if label == "diverged" and rng.random() < 0.3:
        train = {s: (math.nan if s / last > curve.burst else v) for s, v in train.items()}
    step_0 = rng.random() < 0.5 and not (label == "too_short" and n_evals == 3)
    points = [HistoryPoint(0, None, curve.eval(0.0))] if step_0 else []
    points += _lines(rng, train, evals)
    if rng.random() < 0.25 and n_evals > 3:
        points = _restarted(rng, points, curve, last, eval_noise)
    kept = sorted(evals)
    return PlantedHistory(label, points, kept, [curve.eval(s / last) for s in kept])


def _lines(rng: random.Random, train: dict[int, float], evals: dict[int, float]) -> list[HistoryPoint]:
    """One line a step as we write it, or train and eval on lines of their own as transformers does."""
    if rng.random() < 0.5:
        return [HistoryPoint(s, train.get(s), evals.get(s)) for s in sorted({*train, *evals})]
    apart = [(s, 0, HistoryPoint(s, v, None)) for s, v in train.items()]
    apart += [(s, 1, HistoryPoint(s, None, v)) for s, v in evals.items()]
    return [point for _, _, point in sorted(apart, key=lambda entry: entry[:2])]


def _restarted(
    rng: random.Random, points: list[HistoryPoint], curve: _Curve, last: int, noise: float
) -> list[HistoryPoint]:
    """A crash, and a restart from a checkpoint before it: some steps are logged twice, with other noise."""
    crash = rng.randint(len(points) // 2, len(points) - 1)
    back = rng.randint(1, min(4, crash))
    lost = [
        HistoryPoint(
            p.step,
            None if p.train_loss is None else p.train_loss * rng.uniform(0.97, 1.03),
            None if p.eval_loss is None else curve.eval(p.step / last) * math.exp(rng.gauss(0, noise)),
        )
        for p in points[crash - back : crash]
    ]
    return points[: crash - back] + lost + points[crash - back :]


def said(verdict: Verdict) -> set[str]:
    """Return every word of a verdict: its own and its remarks."""
    return {verdict.verdict, *(remark.name for remark in verdict.remarks)}


def f1_scores(judged: Sequence[tuple[str, set[str]]]) -> dict[str, float]:
    """Return F1 of every word, from (planted label, words said).

    A word is right where the label's own words have it; under a label that is a remark alone any verdict is.
    """
    scores = {}
    for word in LABELS:
        counted = [
            (word in WORDS[of], word in words) for of, words in judged if word in ANY_VERDICT or of not in ANY_VERDICT
        ]
        right = counted.count((True, True))
        wrong = counted.count((True, False)) + counted.count((False, True))
        scores[word] = 2 * right / (2 * right + wrong)
    return scores


def macro_f1(judged: Sequence[tuple[str, set[str]]]) -> float:
    """Return the mean of F1 over the words."""
    scores = f1_scores(judged)
    return sum(scores.values()) / len(scores)


def onset_error(history: PlantedHistory, verdict: Verdict, flat: float) -> int:
    """How many eval points the onset found lies from the true one.

    The bottom of the curve is every eval point around the lowest whose loss without noise is within the share `flat` of
    it: no one can see under noise at which of them the rise begins, so the onset may follow any of them.
    """
    lowest = min(history.true_evals)
    first = last = history.true_evals.index(lowest)
    while first > 0 and history.true_evals[first - 1] <= (1 + flat) * lowest:
        first -= 1
    while last + 1 < len(history.true_evals) and history.true_evals[last + 1] <= (1 + flat) * lowest:
        last += 1
    assert verdict.onset_step is not None
    place = [float(step) for step in history.eval_steps].index(verdict.onset_step)
    return max(first + 1 - place, place - (last + 1), 0)


def best_excess(history: PlantedHistory, verdict: Verdict) -> float:
    """How far the loss without noise at the best step found lies above the lowest, relative to it."""
    assert verdict.best_step is not None
    return (
        history.true_evals[[float(step) for step in history.eval_steps].index(verdict.best_step)]
        / min(history.true_evals)
        - 1
    )
