"""Where a noisy curve falls, turns and rises: the least-squares fit that only falls and then only rises."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Valley:
    """The bottom of a curve.

    `level` is the lowest level of the fit, `after` the index of the first value behind it (the number of values where
    none is), `noise` the standard deviation of the values about the curve. `rise_evidence` compares the fit with the
    best one that never rises: by how many squared noises it is better, the log-likelihood ratio times two.
    """

    level: float
    after: int
    noise: float
    rise_evidence: float


NO_VALLEY = Valley(math.nan, 0, 0.0, 0.0)


def find_valley(losses: Array) -> Valley:
    """Return the valley of `losses` by least squares over every split (Frisén, 1986), in linear time.

    The noise is the scatter about that fit or about straight lines through neighbours, whichever is less on few values
    (the second is too large where the curve bends), whichever is more from 10 on.
    """
    n = len(losses)
    if not n:
        return NO_VALLEY
    falling = falling_fit_errors(losses)
    errors = falling[1:] + falling_fit_errors(losses[::-1])[::-1][1:]  # of every split: after 1, 2, ... n values
    split = 1 + int(np.flatnonzero(errors <= errors.min() * (1 + 1e-12) + 1e-24)[0])
    fit = np.concatenate([_isotonic(losses[:split], rising=False), _isotonic(losses[split:], rising=True)])
    error = float(((losses - fit) ** 2).sum())
    noise = math.sqrt(error / max(1.0, n - len(np.unique(fit))))
    if n >= 4:
        noise = (min if n < 10 else max)(noise, scatter(losses))
    level = float(fit.min())
    gained = max(0.0, float(falling[-1]) - error)
    evidence = gained / noise**2 if noise > 0 else math.inf if gained > 0 else 0.0
    return Valley(level, int(np.flatnonzero(fit <= level)[-1]) + 1, noise, evidence)


def falling_fit_errors(losses: Array) -> Array:
    """Return the squared error of the best fit that never rises, of the first 0, 1, ... n values.

    Pool adjacent violators, one value at a time: every value is merged into a block at most once.
    """
    errors = np.zeros(len(losses) + 1)
    levels: list[float] = []
    counts: list[int] = []
    total = 0.0
    for i, value in enumerate(losses.tolist(), start=1):
        level, count = value, 1
        while levels and levels[-1] < level:
            before, weight = levels.pop(), counts.pop()
            total += weight * count / (weight + count) * (level - before) ** 2
            level = (weight * before + count * level) / (weight + count)
            count += weight
        levels.append(level)
        counts.append(count)
        errors[i] = total
    return errors


def scatter(values: Array) -> float:
    """Return the standard deviation of a curve about its own trend, from second differences (Gasser et al., 1986)."""
    bends = np.abs(np.diff(values, n=2)) / math.sqrt(6)
    return float(1.4826 * np.median(bends)) if len(bends) else 0.0


def _isotonic(values: Array, rising: bool) -> Array:
    fit: Array = isotonic_regression(values, increasing=rising).x if len(values) else values
    return fit
