"""What a loss history says about the training: a verdict, the rule and numbers behind it, and one suggestion.

docs/verdicts.md has the rules for readers; `benchmarks/fit_signals.py` measures them on planted histories.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

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


@dataclass(frozen=True)
class Measured:
    """A history in order, and the numbers every rule speaks of. Losses are (step, loss), all finite.

    `trained` are the evals after step 0. The valley is that of the best fit which only falls and then only rises; it
    and `noise`, the scatter about it, withstand single points that are off.
    """

    train: list[tuple[int, float]]
    evals: list[tuple[int, float]]
    trained: list[tuple[int, float]]
    valley: float
    onset: int | None
    end: float
    noise: float
    train_first: float | None
    train_best: float | None
    train_last: float | None
    train_lowest_late: float | None
    train_noise: float | None
    spikes: int
    predicted_fall: float

    def evidence(self) -> dict[str, float | int | None]:
        """The numbers as a verdict carries them."""
        losses = [loss for _, loss in self.evals]
        return {
            "n_evals": len(self.trained),
            "first_eval": losses[0] if losses else None,
            "best_eval": min(loss for _, loss in self.trained) if self.trained else None,
            "last_eval": losses[-1] if losses else None,
            "eval_valley": self.valley if self.trained else None,
            "eval_end": self.end if self.trained else None,
            "eval_noise": self.noise,
            "predicted_fall": self.predicted_fall,
            "first_train": self.train_first,
            "last_train": self.train_last,
            "train_noise_share": self.train_noise,
            "train_spikes": self.spikes,
        }


Points = Sequence[tuple[int, float]]
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
    trained = [(step, loss) for step, loss in evals if step > 0]
    best = min(trained, key=lambda pair: (pair[1], pair[0]))[0] if trained else None
    measured = _measure(train, evals, trained)
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


def _measure(train: Points, evals: Points, trained: Points) -> Measured:
    import numpy as np

    losses = np.array([loss for _, loss in trained])
    valley, onset, noise = unimodal_valley(losses) if len(losses) else (math.nan, len(losses), 0.0)
    end = float(losses[-max(2, len(losses) // 6) :].mean()) if len(losses) else math.nan
    values = np.array([loss for _, loss in train])
    tail = max(1, len(values) // 5)
    smooth = _running_median(values)
    late = values[len(values) // 3 :] if len(values) >= 9 else values
    return Measured(
        list(train),
        list(evals),
        list(trained),
        valley,
        trained[onset][0] if onset < len(trained) else None,
        end,
        noise,
        float(np.median(values[:tail])) if len(values) else None,
        float(smooth.min()) if len(values) else None,
        float(np.median(values[-max(2, tail) :])) if len(values) else None,
        float(values[-max(1, len(values) // 3) :].min()) if len(values) else None,
        _scatter(np.log(np.maximum(late, 1e-12))) if len(late) >= 5 else None,
        int((values > SPIKE_FACTOR * smooth).sum()) if len(values) >= 8 else 0,
        predicted_fall(trained),
    )


def unimodal_valley(losses: Any) -> tuple[float, int, float]:
    """(level of the valley, index of the first loss after it, noise) of the fall-then-rise that fits best.

    Least squares by isotonic regression on either side of every split (Frisén, 1986). The noise is the scatter about
    that fit or about straight lines through neighbours, whichever is less on few points (the second is too large where
    the curve bends), whichever is more from 10 on.
    """
    import numpy as np
    from scipy.optimize import isotonic_regression

    n = len(losses)
    best: tuple[float, Any] = (math.inf, losses)
    for split in range(1, n + 1):
        left = isotonic_regression(losses[:split], increasing=False).x
        right = isotonic_regression(losses[split:]).x if split < n else losses[:0]
        fit = np.concatenate([left, right])
        error = float(((losses - fit) ** 2).sum())
        if error < best[0] * (1 - 1e-12) - 1e-24:
            best = error, fit
    error, fit = best
    valley = float(fit.min())
    onset = int(np.flatnonzero(fit <= valley)[-1]) + 1
    levels = len(np.unique(fit))
    about_fit = math.sqrt(error / max(1.0, n - levels))
    if n < 4:
        return valley, onset, about_fit
    return valley, onset, (min if n < 10 else max)(about_fit, _scatter(losses))


def _scatter(values: Any) -> float:
    """Standard deviation of a curve about its own trend, from second differences (Gasser, Sroka and Jennen, 1986)."""
    import numpy as np

    bends = np.abs(np.diff(values, n=2)) / math.sqrt(6)
    return float(1.4826 * np.median(bends)) if len(bends) else 0.0


def _running_median(values: Any) -> Any:
    """The median of every value with up to two neighbours on either side."""
    import numpy as np

    return np.array([np.median(values[max(0, i - 2) : i + 3]) for i in range(len(values))])


def predicted_fall(trained: Points) -> float:
    """How much lower the eval loss would be after a third more of such steps, as its second half goes on.

    The smaller of two guesses: a straight line through the last third (Theil and Sen's slope, which single points do
    not move) and an exponential fall to a floor, fitted to the second half by least squares.
    """
    import numpy as np
    from scipy import stats

    if len(trained) < 3:
        return 0.0
    steps = np.array([step for step, _ in trained], dtype=np.float64)
    losses = np.array([loss for _, loss in trained])
    span = float(steps[-1])
    ahead = span / 3
    third = min(len(losses), max(3, math.ceil(len(losses) / 3)))
    straight = -float(stats.theilslopes(losses[-third:], steps[-third:]).slope) * ahead
    half = min(len(losses), max(4, math.ceil(len(losses) / 2)))
    x, y = (steps[-half:] - span) / span, losses[-half:]
    fits = []
    for tau in (0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8, 1.3, 2.0, 4.0):
        shape = np.exp(-x / tau)  # 1 at the last step
        slope, _, _, _, _ = stats.linregress(shape, y) if np.ptp(shape) else (0.0,) * 5
        error = float(((y - y.mean() - slope * (shape - shape.mean())) ** 2).sum())
        fits.append((error, float(slope) * (1 - math.exp(-1 / (3 * tau)))))
    return max(0.0, min(straight, min(fits)[1]))


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
    from scipy import stats

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
