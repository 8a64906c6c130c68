"""Mixing laws: the loss after training as a function of the strata's shares of the tokens, or of the weights that
features of rows had in the draw, fitted on proxy runs (RegMix: Liu et al., 2024, arXiv 2407.01492; regression on what
was trained on: datamodels, Ilyas et al., 2022, arXiv 2202.00622)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, LeaveOneGroupOut
from threadpoolctl import threadpool_limits

from curate.scores.mixture_record import MixingLaw, WeightsLaw

FLOOR = 0.005  # added to shares, so that a stratum without rows has a logarithm
ALPHAS = np.logspace(-3, 3, 13)
STRENGTHS = [10 ** (step / 4) for step in range(-4, 13)]  # of the law of weights
FOLDS, REPEATS = 5, 10
TRIED, BEST = 20_000, 200  # mixtures whose loss is predicted, and those whose mean is taken


def fit_law(shares: NDArray[np.float64], losses: NDArray[np.float64], min_correlation: float) -> MixingLaw:
    """Return the law fitted to the runs' shares (m x s) and losses (m,), with its cross-validated rank correlation.

    Ridge regression of log loss on log shares, its penalty chosen by leaving one run out (RegMix: Liu et al., 2024,
    arXiv 2407.01492, fits the same by trees or a line; a power law in the shares is linear here). The correlation is
    Spearman's between losses and the predictions of laws fitted without their fold, the mean of ten ways to fold.
    """
    x, y = np.log(shares + FLOOR), np.log(losses)
    with threadpool_limits(1):
        correlations = []
        for repeat in range(REPEATS):
            predicted = np.empty(len(y))
            for seen, unseen in KFold(FOLDS, shuffle=True, random_state=repeat).split(x):
                predicted[unseen] = _ridge(x[seen], y[seen]).predict(x[unseen])
            correlations.append(_rank_correlation(predicted, y))
        model = _ridge(x, y)
    return MixingLaw(
        intercept=float(model.intercept_),
        coefficients=[float(value) for value in model.coef_],
        floor=FLOOR,
        alpha=float(model.alpha_),
        rank_correlation=float(np.mean(correlations)),
        min_correlation=min_correlation,
        predicted_loss=0.0,
        predicted_pool_loss=0.0,
    )


def best_shares(law: MixingLaw, tried: NDArray[np.float64], pool: NDArray[np.float64]) -> tuple[MixingLaw, list[float]]:
    """Return the mean of the `BEST` of the `tried` share vectors (n x s) by the law, and the law with its predictions.

    Tried are mixtures like those of the proxy runs: beyond them the law knows nothing. The mean of many good ones is
    less at the mercy of the law's errors than the best one (RegMix does the same).
    """
    losses = predict(law, tried)
    best = tried[np.argsort(losses, kind="stable")[:BEST]].mean(axis=0)
    known = {
        "predicted_loss": float(predict(law, best[None])[0]),
        "predicted_pool_loss": float(predict(law, pool[None])[0]),
    }
    return law.model_copy(update=known), best.tolist()


def predict(law: MixingLaw, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the loss (n,) that the law expects of share vectors (n x s)."""
    return np.asarray(np.exp(law.intercept + np.log(shares + law.floor) @ np.array(law.coefficients)))


def fit_weights(
    weights: NDArray[np.float64], losses: NDArray[np.float64], luck: NDArray[np.int64], min_correlation: float
) -> WeightsLaw:
    """Return the law fitted to the weights that runs drew by (m x F) and their losses (m,); `luck` (m,) says which runs
    share a draw, whose mean is taken away.

    Ridge regression; the curvature is not penalised and never negative. The strength is chosen on draws that are left
    out whole, since a mean knows of all its runs, and the rank correlation is Spearman's between losses and what laws,
    each with a strength of its own, predict that had not seen the run's draw.
    """
    x, y = np.column_stack([weights, (weights**2).sum(axis=1)]), np.log(losses)
    scale = x.std(axis=0)
    within, below = x / scale, y.copy()
    for each in np.unique(luck):
        within[luck == each] -= within[luck == each].mean(axis=0)
        below[luck == each] -= below[luck == each].mean()
    with threadpool_limits(1):
        predicted = np.empty(len(y))
        for seen, unseen in LeaveOneGroupOut().split(within, below, luck):
            strength = _strength(within[seen], below[seen], luck[seen])
            predicted[unseen] = within[unseen] @ _slopes(within[seen], below[seen], strength)
        strength = _strength(within, below, luck)
        slopes = _slopes(within, below, strength) / scale
    level = float((y - x @ slopes).mean())
    return WeightsLaw(
        rank_correlation=_rank_correlation(predicted, below),
        min_correlation=min_correlation,
        predicted_loss=float(np.exp(level)),
        predicted_pool_loss=float(np.exp(level)),
        level=level,
        slopes=slopes[:-1].tolist(),
        curvature=float(slopes[-1]),
        alpha=strength,
    )


def best_weights(law: WeightsLaw, reach: float) -> tuple[WeightsLaw, NDArray[np.float64]]:
    """Return the law with what it predicts of the weights of the least loss no longer than `reach`, and these (F,).

    They lie against the slopes, as far as the curvature lets the loss fall.
    """
    slopes = np.array(law.slopes)
    steepness = float(np.linalg.norm(slopes))
    if steepness == 0:
        return law, np.zeros(len(slopes))
    far = reach if law.curvature == 0 else min(reach, steepness / (2 * law.curvature))
    predicted = float(np.exp(law.level - far * steepness + far**2 * law.curvature))
    return law.model_copy(update={"predicted_loss": predicted}), -far / steepness * slopes


def _strength(x: NDArray[np.float64], y: NDArray[np.float64], luck: NDArray[np.int64]) -> float:
    """The strength with the least error on draws left out."""

    def error(strength: float) -> float:
        return sum(
            float(((x[unseen] @ _slopes(x[seen], y[seen], strength) - y[unseen]) ** 2).sum())
            for seen, unseen in LeaveOneGroupOut().split(x, y, luck)
        )

    return min(STRENGTHS, key=error)


def _slopes(x: NDArray[np.float64], y: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """The slopes (F,) and the curvature, the last of them, which is 0 where the runs would have it negative, or where
    they say nothing of it."""
    penalty = strength * np.eye(x.shape[1])
    penalty[-1, -1] = 0.0  # that more weight costs something is no surprise
    gram, moment = x.T @ x + penalty, x.T @ y
    if gram[-1, -1] > 0:
        found = np.linalg.solve(gram, moment)
        if found[-1] >= 0:
            return np.asarray(found)
    return np.append(np.linalg.solve(gram[:-1, :-1], moment[:-1]), 0.0)


def _ridge(x: NDArray[np.float64], y: NDArray[np.float64]) -> RidgeCV:
    return RidgeCV(alphas=ALPHAS).fit(x, y)


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's correlation; 0 where one of the two does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
