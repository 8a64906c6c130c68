"""Fit, on runs with weights drawn at random, the weights that the study "which rows?" then tries.

Every weighted proxy drew its rows by the exponential of a sum of features, each by a random number. The loss on V, its
sources weighted as H has them, and the share of answers that end themselves are fitted by these numbers: a slope each,
and a curvature that is shared, by ridge regression whose strength is chosen on runs left out. The weights recommended
are those with the least loss, or the most such answers at no more loss than random's, within a distance from random. H
has no part in it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import NonlinearConstraint, minimize
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_cells import SPREAD

FOLDS = 8
STRENGTHS = np.geomspace(0.1, 1000, 17)
REACHES = {"near": 0.6, "far": 1.2}  # of the length of a proxy's weights


@dataclass(frozen=True)
class Surface:
    """A measure by the weights of features: level + weights @ slopes + curvature x |weights| squared."""

    level: float
    slopes: NDArray[np.float64]
    curvature: float
    rank_correlation: float  # on runs left out, the luck of their draws taken away
    strength: float

    def at(self, weights: NDArray[np.float64]) -> float:
        """Return the measure less what random has."""
        return float(weights @ self.slopes + self.curvature * (weights @ weights))


def fit(weights: NDArray[np.float64], measured: NDArray[np.float64], luck: NDArray[np.int64]) -> Surface:
    """Return the surface through runs (n x F weights, n figures), the runs of one luck less their own mean."""
    of_luck = np.unique(luck, return_inverse=True)[1]
    design = np.column_stack([weights, (weights**2).sum(axis=1)])
    scale = design.std(axis=0)
    x, y = design / scale, measured.copy()
    for each in np.unique(of_luck):
        mine = of_luck == each
        x[mine] -= x[mine].mean(axis=0)
        y[mine] -= y[mine].mean()
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS

    def solved(some: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
        penalty = strength * np.eye(x.shape[1])
        penalty[-1, -1] = 0.0  # that more weight costs something is no surprise
        return np.asarray(np.linalg.solve(x[some].T @ x[some] + penalty, x[some].T @ y[some]))

    def left_out(strength: float) -> NDArray[np.float64]:
        predicted = np.zeros(len(y))
        for number in range(FOLDS):
            predicted[fold == number] = x[fold == number] @ solved(fold != number, strength)
        return predicted

    strength = min(STRENGTHS, key=lambda own: float(((left_out(own) - y) ** 2).mean()))
    found = solved(np.full(len(y), True), strength) / scale
    level = float((measured - design @ found).mean())
    predicted = left_out(strength)
    rank = float(spearmanr(predicted, y).statistic) if np.ptp(predicted) and np.ptp(y) else 0.0
    return Surface(level, found[:-1], float(found[-1]), rank, float(strength))


def best_weights(aim: Surface, reach: float, no_more: Surface | None = None, least: float = 0.0) -> NDArray[np.float64]:
    """Return the weights within `reach` with the least of `aim`, where `no_more` is at most `least`."""
    bounds = [NonlinearConstraint(lambda w: np.array([w @ w]), -np.inf, reach**2)]
    if no_more is not None:
        bounds.append(NonlinearConstraint(lambda w: np.array([no_more.at(w)]), -np.inf, least))
    start = -0.1 * reach * aim.slopes / max(1e-12, float(np.linalg.norm(aim.slopes)))
    return np.asarray(minimize(aim.at, start, method="SLSQP", constraints=bounds, options={"maxiter": 500}).x)


def recommend(proxies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the weights for every goal and reach, with what is promised, and how far each surface can be trusted.

    `proxies` are results: `weights`, the `luck` of the draw, the loss (`steered`), the share of `prompts_ended`.
    """
    names = list(proxies[0]["weights"]["features"])
    weights = np.array([[run["weights"]["features"][name] for name in names] for run in proxies])
    luck = np.array([run["luck"] for run in proxies])
    of_loss = fit(weights, np.log([run["steered"] for run in proxies]), luck)
    of_form = fit(weights, -np.array([run["prompts_ended"] for run in proxies]), luck)
    length = SPREAD * np.sqrt(len(names))
    result: dict[str, Any] = {
        "fit": {
            name: {"runs": len(proxies), "rank_correlation": s.rank_correlation, "strength": s.strength}
            for name, s in (("loss", of_loss), ("form", of_form))
        }
    }
    for reach, share in REACHES.items():
        least = best_weights(of_loss, share * length)
        found = {
            "loss": least,
            "form": best_weights(of_form, share * length, of_loss, 0.0),
            "both": best_weights(of_form, share * length, of_loss, 0.5 * of_loss.at(least)),
        }
        for goal, own in found.items():
            result[f"{goal}, {reach}"] = {
                "features": dict(zip(names, own.round(4).tolist(), strict=True)),
                "predicted_percent": 100 * float(np.expm1(of_loss.at(own))),
                "predicted_points": -100 * of_form.at(own),
            }
    return result
