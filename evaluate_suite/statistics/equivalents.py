"""How many randomly chosen tokens reach the same score: what a selection is worth, in the currency of random ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import isotonic_regression

RESAMPLES = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class RandomEquivalent:
    """`tokens` random tokens score as well, with a 95% interval; `ratio` is that over the tokens really used.

    A bound of None lies beyond the budgets that were tried; `reason` says why a figure is absent.
    """

    tokens: float | None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    n_draws: int = 0
    reason: str | None = None


def random_equivalent(
    curve: Mapping[float, Sequence[float]],
    scores: Sequence[float],
    tokens_used: float | None = None,
    *,
    higher_is_better: bool = False,
    seed: int = 0,
) -> RandomEquivalent:
    """The random tokens that reach the mean of `scores`, one score a draw of the selection in question.

    `curve` has the scores of random selections by their tokens, one a draw, two budgets at least. Scores are taken to
    get no worse with more tokens (isotonic regression) and to run straight between budgets over the logarithm of
    tokens; nothing is said beyond the smallest and the largest. The interval is a bootstrap over draws: residuals of
    all budgets are pooled, widened for their few degrees of freedom, and drawn anew for every budget and, where there
    are two draws or more, for the scores.
    """
    budgets = sorted(curve)
    n_draws = sum(len(curve[budget]) for budget in budgets)
    if not scores:
        return RandomEquivalent(None, n_draws=n_draws, reason="there is no score to match")
    if len(budgets) < 2:
        return RandomEquivalent(
            None, n_draws=n_draws, reason=f"random selections exist at {len(budgets)} budget(s); two are needed"
        )
    sign = 1.0 if higher_is_better else -1.0
    x = np.log(np.array(budgets, dtype=np.float64))
    counts = np.array([len(curve[budget]) for budget in budgets])
    means = sign * np.array([np.mean(curve[budget]) for budget in budgets])
    target = sign * float(np.mean(scores))
    place = _invert(x, means, counts, target)
    if not math.isfinite(place):
        where = (
            f"better than random at the largest budget tried ({budgets[-1]:,.0f} tokens)"
            if place > 0
            else f"no better than random at the smallest budget tried ({budgets[0]:,.0f} tokens)"
        )
        return RandomEquivalent(None, n_draws=n_draws, reason=where)
    tokens = math.exp(place)
    ratio = None if not tokens_used else tokens / tokens_used
    df = int(counts.sum() - len(budgets)) + max(0, len(scores) - 1)
    if df < 2:
        return RandomEquivalent(
            tokens, None, None, ratio, n_draws, "too few draws for an interval: draw each budget twice or more"
        )
    groups = [
        *(np.asarray(curve[budget], dtype=np.float64) for budget in budgets),
        np.asarray(scores, dtype=np.float64),
    ]
    low, high = _bootstrap(x, means, counts, target, groups, df, np.random.default_rng(seed))
    return RandomEquivalent(tokens, low, high, ratio, n_draws)


def _bootstrap(
    x: NDArray[np.float64],
    means: NDArray[np.float64],
    counts: NDArray[np.int64],
    target: float,
    groups: Sequence[NDArray[np.float64]],
    df: int,
    rng: np.random.Generator,
) -> tuple[float | None, float | None]:
    """The 2.5% and 97.5% points of the tokens over resamples; None where they lie beyond the budgets."""
    residuals = np.concatenate(
        [(group - group.mean()) * math.sqrt(len(group) / (len(group) - 1)) for group in groups if len(group) > 1]
    )
    widen = float(stats.t.ppf((1 + CONFIDENCE) / 2, df) / stats.norm.ppf((1 + CONFIDENCE) / 2))
    size = math.sqrt(float(np.mean(residuals**2)))
    residuals = residuals * (widen * _pooled_sd(groups, df) / size) if size else residuals
    places = []
    for _ in range(RESAMPLES):
        moved = means + [rng.choice(residuals, n).mean() for n in counts]
        aim = target + (rng.choice(residuals, len(groups[-1])).mean() if len(groups[-1]) > 1 else 0.0)
        places.append(_invert(x, moved, counts, aim))
    low, high = np.quantile(places, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="closest_observation")
    return (math.exp(low) if math.isfinite(low) else None, math.exp(high) if math.isfinite(high) else None)


def _pooled_sd(groups: Sequence[NDArray[np.float64]], df: int) -> float:
    return math.sqrt(sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / df)


def _invert(x: NDArray[np.float64], means: NDArray[np.float64], counts: NDArray[np.int64], target: float) -> float:
    """The log tokens at which the rising fit first reaches `target`; minus or plus infinity beyond the budgets."""
    fit = isotonic_regression(means, weights=counts).x
    if target < fit[0]:
        return -math.inf
    if target > fit[-1]:
        return math.inf
    at = int(np.argmax(fit >= target))
    if at == 0 or fit[at] == fit[at - 1]:
        return float(x[at])
    return float(x[at - 1] + (target - fit[at - 1]) / (fit[at] - fit[at - 1]) * (x[at] - x[at - 1]))
