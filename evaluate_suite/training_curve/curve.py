"""The numbers that the verdicts on a training speak of: where its loss curves fall, turn, scatter and lead."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage, stats

from evaluate_suite.training_curve.points import Losses
from evaluate_suite.training_curve.valley import Array, Valley, find_valley, scatter

NEAR_ZERO = 0.01  # nats: ratios of losses below this are ratios of roundings and of rows known by heart
TAUS = np.array([0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8, 1.3, 2.0, 4.0])  # of exponential falls, in lengths of the run
MANY = 300  # evaluations; of more, block means are taken: slopes cost the square, and chance has as many places to rise


@dataclass(frozen=True)
class Ratio:
    """Eval loss over the train loss logged around it; `train_losses` is how many were."""

    value: float
    train_losses: int


@dataclass(frozen=True)
class TrainLevels:
    """Medians of the train loss: over the first fifth of the logged lines, the lowest of any five, the last fifth."""

    first: float
    best: float
    last: float


@dataclass(frozen=True)
class Measured:
    """A history in order, and the numbers every rule speaks of. Losses are (step, loss), all finite.

    `trained` are the evals of a model that was trained, `gained` is what the eval loss fell from its first value to the
    valley, `end` the mean of its last evaluations. `fall_error` is the standard error that noise alone gives the
    `predicted_fall`: that of a slope over the last third, carried on for as long.
    """

    train: Losses
    evals: Losses
    trained: Losses
    valley: Valley
    end: float
    predicted_fall: float
    levels: TrainLevels | None
    train_scatter: float | None
    fall_error: float
    first_ratio: Ratio | None
    last_ratio: Ratio | None

    @cached_property
    def onset(self) -> float | None:
        """The step of the first evaluation behind the valley and behind the lowest loss measured."""
        losses = [loss for _, loss in self.trained]
        after = max(self.valley.after, losses.index(min(losses)) + 1) if losses else 0
        return self.trained[after][0] if after < len(losses) else None

    @property
    def gained(self) -> float:
        """What the eval loss fell from its first value to the valley."""
        return max(0.0, self.evals[0][1] - self.valley.level)

    def evidence(self) -> dict[str, float | None]:
        """Return the numbers as a verdict carries them."""
        some = bool(self.trained)
        return {
            "n_evals": len(self.trained),
            "first_eval": self.evals[0][1] if self.evals else None,
            "best_eval": min(loss for _, loss in self.trained) if some else None,
            "last_eval": self.evals[-1][1] if self.evals else None,
            "eval_valley": self.valley.level if some else None,
            "eval_end": self.end if some else None,
            "eval_noise": self.valley.noise if some else None,
            "rise_evidence": self.valley.rise_evidence if some and math.isfinite(self.valley.rise_evidence) else None,
            "predicted_fall": self.predicted_fall,
            "first_train": self.levels.first if self.levels else None,
            "last_train": self.levels.last if self.levels else None,
            "train_scatter": self.train_scatter,
            "first_eval_to_train": self.first_ratio.value if self.first_ratio else None,
            "last_eval_to_train": self.last_ratio.value if self.last_ratio else None,
        }


def measure(train: Losses, evals: Losses) -> Measured:
    """Return everything that rules read of a history's finite losses, in order.

    An evaluation at step 0 is one of the untrained model, unless a train loss stands beside it: then steps are counted
    from 0, as Keras counts epochs.
    """
    from_zero = bool(train) and train[0][0] == 0
    trained = [(step, loss) for step, loss in evals if step > 0 or from_zero]
    losses = np.array([loss for _, loss in trained])
    starts, means = _thinned(np.array(trained, dtype=np.float64).reshape(-1, 2))
    valley = find_valley(means[:, 1])
    valley = replace(valley, after=starts[valley.after] if valley.after < len(starts) else len(trained))
    values = np.array([loss for _, loss in train])
    late = values[len(values) // 3 :] if len(values) >= 9 else values
    return Measured(
        train=train,
        evals=evals,
        trained=trained,
        valley=valley,
        end=float(losses[-max(2, len(losses) // 6) :].mean()) if len(losses) else math.nan,
        predicted_fall=predicted_fall(means, valley.noise),
        fall_error=valley.noise * math.sqrt(12 / max(3, math.ceil(len(means) / 3))),
        levels=_train_levels(values),
        train_scatter=scatter(np.log(np.maximum(late, NEAR_ZERO))) if len(late) >= 7 else None,
        first_ratio=_ratio_to_train(trained, train, first=True),
        last_ratio=_ratio_to_train(trained, train, first=False),
    )


def _train_levels(values: Array) -> TrainLevels | None:
    if not len(values):
        return None
    fifth = max(1, len(values) // 5)
    last = float(np.median(values[-max(2, fifth) :]))
    return TrainLevels(float(np.median(values[:fifth])), float(_running_median(values).min()), last)


def _running_median(values: Array) -> Array:
    """Return the median of every value with up to two neighbours on either side."""
    smooth: Array = ndimage.median_filter(values, size=5, mode="nearest")
    for i in range(min(2, len(values))):  # at the ends the window is cut, not filled up
        smooth[i] = np.median(values[: i + 3])
        smooth[-1 - i] = np.median(values[-i - 3 :])
    return smooth


def _ratio_to_train(trained: Losses, train: Losses, first: bool) -> Ratio | None:
    """Return the eval loss over the train loss logged around it, of the first or the last eighth of the evaluations."""
    if len(trained) < 2 or not train:
        return None
    count = max(1, len(trained) // 8)
    part = trained[:count] if first else trained[-count:]
    half = (trained[-1][0] - trained[0][0]) / (len(trained) - 1) / 2
    beside = [loss for step, loss in train if part[0][0] - half <= step <= part[-1][0] + half]
    level = float(np.median(beside)) if beside else 0.0
    return Ratio(float(np.median([loss for _, loss in part])) / level, len(beside)) if level > 0 else None


def ratio(part: float, whole: float) -> float:
    """Return `part / whole` also where a loss is 0, as memorised rows have it."""
    return part / whole if whole else math.inf if part else 0.0


def percent_above(loss: float, lowest: float) -> str:
    """Return how far a loss is above the lowest: in percent of it, or in itself where it is near 0."""
    if abs(lowest) < NEAR_ZERO:
        return f"{loss - lowest:.4f} above"
    return f"{100 * (loss - lowest) / abs(lowest):.1f}% above"


def predicted_fall(trained: Array, noise: float) -> float:
    """Return how much lower the eval loss would be after a third more of such steps, as its second half goes on.

    The least of three guesses: a straight line through the last third (Theil and Sen's slope, which single points do
    not move); an exponential fall to a floor, fitted to the second half by least squares; and a line through the last
    sixth, the end that a schedule may have made flat, as steep as its noise allows (one standard error).
    """
    if len(trained) < 3:
        return 0.0
    steps, losses = trained[:, 0], trained[:, 1]
    span = float(steps[-1] - min(0.0, steps[0]))
    ahead = span / 3
    third = min(len(losses), max(3, math.ceil(len(losses) / 3)))
    straight = -float(stats.theilslopes(losses[-third:], steps[-third:]).slope) * ahead
    sixth = max(3, math.ceil(len(losses) / 6))
    apart = steps[-sixth:] - steps[-sixth:].mean()
    spread = float((apart**2).sum())
    at_end = (noise / math.sqrt(spread) - float(apart @ losses[-sixth:]) / spread) * ahead
    return max(0.0, min(straight, at_end, _exponential_fall(steps, losses, span)))


def _exponential_fall(steps: Array, losses: Array, span: float) -> float:
    """Return how much further the best exponential through the second half falls in a third of `span`."""
    half = min(len(losses), max(4, math.ceil(len(losses) / 2)))
    x, y = (steps[-half:] - steps[-1]) / span, losses[-half:]
    shapes = np.exp(-x / TAUS[:, None])  # a row each, 1 at the last step
    shapes -= shapes.mean(axis=1, keepdims=True)
    y = y - y.mean()
    slopes = shapes @ y / np.maximum((shapes**2).sum(axis=1), 1e-300)
    best = int(((y - slopes[:, None] * shapes) ** 2).sum(axis=1).argmin())
    return float(slopes[best] * (1 - math.exp(-1 / (3 * TAUS[best]))))


def _thinned(pairs: Array) -> tuple[list[int], Array]:
    """Return (step, loss) as means of at most MANY blocks, and the index at which each block starts."""
    if len(pairs) <= MANY:
        return list(range(len(pairs))), pairs
    blocks = np.array_split(np.arange(len(pairs)), MANY)
    return [int(block[0]) for block in blocks], np.array([pairs[block].mean(axis=0) for block in blocks])
