"""Fit, on runs with weights drawn at random, the weights that the study "which rows?" then tries.

Every weighted proxy drew its rows by the exponential of a sum of features, each by a random number. The loss on V, its
sources weighted as H has them, and the share of answers that end themselves are fitted by these numbers as `evalsuite
mixture` fits them. The weights recommended are those with the least loss, or the most such answers at no more loss than
random's, within a distance from random. H has no part in it.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_cells import SPREAD
from curate.scores.mixture_record import WeightsLaw
from evaluate_suite.mixture.law import fit_weights

REACHES = {"near": 0.6, "far": 1.2}  # of the length of a proxy's weights


@dataclass(frozen=True)
class Surface:
    """What weights (F,) add to a measure, by the law that `evalsuite mixture` fits."""

    law: WeightsLaw

    @property
    def slopes(self) -> NDArray[np.float64]:
        return np.array(self.law.slopes)

    def at(self, weights: NDArray[np.float64]) -> float:
        """Return the measure less what random has."""
        return float(weights @ self.slopes + self.law.curvature * (weights @ weights))


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
    of_loss = Surface(fit_weights(weights, np.array([run["steered"] for run in proxies]), luck, 0.0))
    of_form = Surface(fit_weights(weights, np.exp([-run["prompts_ended"] for run in proxies]), luck, 0.0))
    length = SPREAD * np.sqrt(len(names))
    result: dict[str, Any] = {
        "fit": {
            name: {"runs": len(proxies), "rank_correlation": s.law.rank_correlation, "strength": s.law.alpha}
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
