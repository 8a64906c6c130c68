"""The mixing law: the loss after training as a function of the strata's shares of the tokens, fitted on proxy runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from curate.scores.mixture_record import MixingLaw

FLOOR = 0.005  # added to shares, so that a stratum without rows has a logarithm
ALPHAS = np.logspace(-3, 3, 13)
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


def _ridge(x: NDArray[np.float64], y: NDArray[np.float64]) -> RidgeCV:
    return RidgeCV(alphas=ALPHAS).fit(x, y)


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's correlation; 0 where one of the two does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
