"""The numbers that the verdicts on a training speak of: where its loss curves fall, turn, scatter and lead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import isotonic_regression

Points = Sequence[tuple[int, float]]


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


def measure(train: Points, evals: Points, spike_factor: float) -> Measured:
    """Everything of a history's finite losses, in order; a spike is `spike_factor` times its neighbours' median."""
    trained = [(step, loss) for step, loss in evals if step > 0]
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
        trained,
        valley,
        trained[onset][0] if onset < len(trained) else None,
        end,
        noise,
        float(np.median(values[:tail])) if len(values) else None,
        float(smooth.min()) if len(values) else None,
        float(np.median(values[-max(2, tail) :])) if len(values) else None,
        float(values[-max(1, len(values) // 3) :].min()) if len(values) else None,
        _scatter(np.log(np.maximum(late, 1e-12))) if len(late) >= 5 else None,
        int((values > spike_factor * smooth).sum()) if len(values) >= 8 else 0,
        predicted_fall(trained),
    )


def unimodal_valley(losses: Any) -> tuple[float, int, float]:
    """(level of the valley, index of the first loss after it, noise) of the fall-then-rise that fits best.

    Least squares by isotonic regression on either side of every split (Frisén, 1986). The noise is the scatter about
    that fit or about straight lines through neighbours, whichever is less on few points (the second is too large where
    the curve bends), whichever is more from 10 on.
    """
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
    bends = np.abs(np.diff(values, n=2)) / math.sqrt(6)
    return float(1.4826 * np.median(bends)) if len(bends) else 0.0


def _running_median(values: Any) -> Any:
    """The median of every value with up to two neighbours on either side."""
    return np.array([np.median(values[max(0, i - 2) : i + 3]) for i in range(len(values))])


def predicted_fall(trained: Points) -> float:
    """How much lower the eval loss would be after a third more of such steps, as its second half goes on.

    The smaller of two guesses: a straight line through the last third (Theil and Sen's slope, which single points do
    not move) and an exponential fall to a floor, fitted to the second half by least squares.
    """
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
