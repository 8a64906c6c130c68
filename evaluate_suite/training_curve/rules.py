"""What a loss history says about the training: a verdict, the rule and numbers behind it, and one suggestion.

docs/verdicts.md has the rules for readers; `benchmarks/fit_signals.py` measures them on planted histories.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from scipy import stats

from evaluate_suite.training_curve.curve import Measured, measure

VERDICTS = ("underfit", "good", "overfit", "unstable", "diverged", "leaking", "too_short")
MIN_EVALS = 4  # fewer cannot show a minimum with a rise after it
RISE_SHARE = 0.02  # overfit: eval loss ends this far above its valley, relative to it...
RISE_OF_GAIN = 0.10  # ...or by this share of all it had gained, where that is less...
LEAST_RISE = 0.01  # ...but by no less than this, relative to it...
NOISE_MULTIPLE = 3.0  # ...by more than this many times the noise of the eval curve...
SINGLE_MULTIPLE = 3.0  # ...three times all that, where only one evaluation came after the valley...
TREND_LEVEL = 0.01  # ...and, over five evaluations or more, with a trend at this level (Kendall's test)
STILL_FALLING = 0.015  # underfit: a third more of such steps would lower the eval loss by this share of its level
BARELY_MOVED = 0.02  # underfit: neither loss fell by this share of where it began
DIVERGED_FACTOR = 1.5  # diverged: the train loss ends this many times above its best...
CONFIRMED_FACTOR = 1.2  # ...and, where there are evals, the eval loss this many times above its valley
SPIKE_SHARE = 0.12  # unstable: step-to-step noise of the train loss relative to its level
SPIKE_FACTOR = 1.5  # a spike: this many times the median of its neighbourhood
SPIKE_FREQUENCY = 0.05  # unstable: this share of the logged train losses are spikes, and at least two
LEAK_RATIO = 0.7  # leaking: eval loss ends below this share of train loss...
LEAK_MARGIN = 0.9  # ...and below this share of the lowest train loss logged in the last third
SUGGESTIONS = {
    "underfit": "Train longer, or raise the learning rate: the eval loss was still falling or had hardly moved.",
    "good": "Keep this recipe.",
    "overfit": "Stop at the best step, or lower the learning rate.",
    "unstable": "Use a larger batch (more gradient accumulation), or lower the learning rate.",
    "diverged": "Lower the learning rate, and check that gradients are clipped and in a wide enough dtype.",
    "leaking": "Look for training rows in the holdout: select again with a lower --near-duplicate.",
    "too_short": "Train for more steps, or evaluate more often: too little was measured to judge.",
}


@dataclass(frozen=True)
class HistoryPoint:
    """One logged step; None where a loss was not measured."""

    step: int
    train_loss: float | None
    eval_loss: float | None


@dataclass(frozen=True)
class Verdict:
    """`verdict` is one of VERDICTS, `rule` the sentence that led to it, `onset_step` where overfitting began."""

    verdict: str
    best_step: int | None
    onset_step: int | None
    rule: str
    evidence: dict[str, float | int | None]
    suggestion: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; numbers that JSON does not have are None."""
        evidence = {k: v if v is None or math.isfinite(v) else None for k, v in self.evidence.items()}
        return {**asdict(self), "evidence": evidence}


Found = tuple[str, str] | None


def judge(history: Sequence[HistoryPoint]) -> Verdict:
    """The verdict on a training from its loss history alone.

    Points may be missing, repeated (a restart: the later one counts) or out of order. Step 0, the untrained model,
    counts as an eval point but is never the best step.
    """
    points = _in_order(history)
    train, broken_train = _finite([(p.step, p.train_loss) for p in points])
    evals, broken_eval = _finite([(p.step, p.eval_loss) for p in points])
    if points and not train and not evals:  # a column of NaN alone was not logged; where nothing else stands, it was
        broken_train = points[0].step
    measured = measure(train, evals, SPIKE_FACTOR)
    trained = measured.trained
    best = min(trained, key=lambda pair: (pair[1], pair[0]))[0] if trained else None
    evidence = measured.evidence()
    broken = [step for step in (broken_train, broken_eval) if step is not None]
    if broken:
        sentence = f"The loss at step {min(broken)} is not a finite number."
        return Verdict(
            "diverged", best, None, sentence, {**evidence, "broken_step": min(broken)}, SUGGESTIONS["diverged"]
        )
    for rule in (_diverged, _too_short, _leaking, _overfit, _unstable, _underfit):
        found = rule(measured)
        if found is not None:
            onset = measured.onset if found[0] == "overfit" else None
            return Verdict(found[0], best, onset, found[1], evidence, SUGGESTIONS[found[0]])
    more = 100 * _ratio(measured.predicted_fall, measured.end)
    sentence = (
        f"The eval loss fell from {evals[0][1]:.4f} to {measured.valley:.4f} and ends at {measured.end:.4f}, "
        f"level with it; a third more steps would lower it by {more:.1f}%."
    )
    return Verdict("good", best, None, sentence, evidence, SUGGESTIONS["good"])


def _in_order(history: Iterable[HistoryPoint]) -> list[HistoryPoint]:
    """One point a step, in order. A step that is logged again marks a restart, which takes back what came after it."""
    losses: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for point in history:
        for column, value in zip(losses, (point.train_loss, point.eval_loss), strict=True):
            if value is None:
                continue
            if point.step in column:
                for stale in [step for step in column if step > point.step]:
                    del column[stale]
            column[point.step] = value
    return [HistoryPoint(step, losses[0].get(step), losses[1].get(step)) for step in sorted({*losses[0], *losses[1]})]


def _finite(points: Sequence[tuple[int, float | None]]) -> tuple[list[tuple[int, float]], int | None]:
    """The finite losses, and the first step with a broken one.

    Some tools write NaN for "not logged": a column with NaN in two or more separate stretches, of which the last is no
    longer than another, is taken to be one of theirs.
    """
    known = [(step, loss) for step, loss in points if loss is not None]
    finite = [(step, loss) for step, loss in known if math.isfinite(loss)]
    if len(finite) == len(known) or (not finite and not any(math.isinf(loss) for _, loss in known)):
        return finite, None
    stretches = [len(list(same)) for broken, same in groupby(known, lambda pair: not math.isfinite(pair[1])) if broken]
    infinite = any(math.isinf(loss) for _, loss in known)
    if len(stretches) >= 2 and not infinite and stretches[-1] <= max(stretches[:-1]):
        return finite, None
    return finite, next(step for step, loss in known if not math.isfinite(loss))


def _ratio(part: float, whole: float) -> float:
    """`part / whole` also where a loss is 0, as memorised rows have it."""
    return part / whole if whole else math.inf if part else 0.0


def _diverged(m: Measured) -> Found:
    if m.train_last is not None and m.train_best is not None and len(m.train) >= 4:
        last, best = m.train_last, m.train_best
        # What both losses show is no accident of a few noisy lines; train losses alone must clear their own noise.
        by_eval = bool(m.trained) and m.trained[-1][1] > CONFIRMED_FACTOR * m.valley
        by_noise = not m.trained and last > best * math.exp(NOISE_MULTIPLE * (m.train_noise or 0.0))
        if last > DIVERGED_FACTOR * best and m.train[-1][1] > best and (by_eval or by_noise):
            return "diverged", f"The train loss ends at {last:.4f}, {_ratio(last, best):.1f} times its best {best:.4f}."
        return None  # eval loss rises as far where a tiny set is memorised; then the train loss keeps falling
    losses = [loss for _, loss in m.evals]
    if len(losses) < 3 or m.train:
        return None
    best, last = min(losses), sum(losses[-2:]) / 2
    if last > DIVERGED_FACTOR * best and last > 1.05 * losses[0]:
        return "diverged", f"The eval loss ends at {last:.4f}, {_ratio(last, best):.1f} times its best {best:.4f}."
    return None


def _too_short(m: Measured) -> Found:
    if len(m.evals) >= MIN_EVALS and len(m.trained) >= MIN_EVALS - 1:
        return None
    counted = "1 eval loss was" if len(m.evals) == 1 else f"{len(m.evals)} eval losses were"
    return "too_short", f"Only {counted} measured; {MIN_EVALS} are needed to judge."


def _leaking(m: Measured) -> Found:
    if m.train_last is None or m.train_lowest_late is None:
        return None
    if m.end >= LEAK_RATIO * m.train_last or m.end >= LEAK_MARGIN * m.train_lowest_late:
        return None
    return "leaking", f"The eval loss ends at {m.end:.4f}, far below the train loss {m.train_last:.4f}."


def _overfit(m: Measured) -> Found:
    after = [loss for step, loss in m.trained if m.onset is not None and step >= m.onset]
    if not after:
        return None
    end = m.end if len(after) > 1 else after[0]
    gained = max(0.0, m.evals[0][1] - m.valley)
    needed = min(RISE_SHARE * m.valley, RISE_OF_GAIN * gained) if gained else RISE_SHARE * m.valley
    multiple = NOISE_MULTIPLE * (2 if _spiky(m) else 1)
    needed = max(needed, LEAST_RISE * m.valley, multiple * m.noise)
    needed *= SINGLE_MULTIPLE if len(after) == 1 else 1
    if end - m.valley < needed or (len(after) >= 5 and not _trends_up(after)):
        return None
    step, best = min(m.trained, key=lambda pair: (pair[1], pair[0]))
    return "overfit", (
        f"The eval loss was lowest at step {step} ({best:.4f}) and rose to {end:.4f}, "
        f"{100 * (_ratio(end, best) - 1):.1f}% above it, over {len(after)} evaluation{'s' * (len(after) > 1)}."
    )


def _trends_up(losses: Sequence[float]) -> bool:
    return bool(stats.kendalltau(range(len(losses)), losses, alternative="greater").pvalue < TREND_LEVEL)


def _spiky(m: Measured) -> bool:
    return m.train_noise is not None and m.train_noise >= SPIKE_SHARE


def _unstable(m: Measured) -> Found:
    if m.train_noise is not None and _spiky(m):
        return "unstable", (
            f"The train loss jumps by {100 * m.train_noise:.0f}% of its level from one logged step to the next."
        )
    if m.spikes >= max(2, SPIKE_FREQUENCY * len(m.train)):
        return "unstable", (
            f"{m.spikes} of {len(m.train)} logged train losses are spikes, {SPIKE_FACTOR} times their surroundings."
        )
    return None


def _underfit(m: Measured) -> Found:
    first, level = m.evals[0][1], m.end
    if m.predicted_fall > max(STILL_FALLING * level, m.noise):
        return "underfit", (
            f"The eval loss was still falling: a third more steps would lower it by "
            f"{100 * _ratio(m.predicted_fall, level):.1f}%, from {m.trained[-1][1]:.4f}."
        )
    train_moved = m.train_first is not None and m.train_last is not None and (
        m.train_last < (1 - BARELY_MOVED - (m.train_noise or 0.0)) * m.train_first
    )  # fmt: skip
    if m.valley > (1 - BARELY_MOVED) * first - 2 * m.noise and not train_moved:
        return "underfit", f"The losses hardly moved: eval loss went from {first:.4f} to {level:.4f}."
    return None
