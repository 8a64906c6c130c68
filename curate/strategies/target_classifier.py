"""`target-classifier`: the rows that a linear classifier takes for rows of the target set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from curate.strategies.types import Candidates, Picks

POOL_SAMPLE = 20_000  # rows of the pool that stand for it: more change the weights by less than their rounding
STRENGTH = 10.0  # scikit-learn's C; both classes weigh the same, however few the target rows are


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Return the k rows with the largest log odds of coming from the target set (`--target FILE`).

    Logistic regression tells the target's vectors from the pool's, as quality classifiers for pretraining data do
    (Brown et al., 2020, appendix A; Xie et al., 2023, arXiv 2302.03169, weight rows by the same ratio). Unlike `rds`
    it also learns what target rows are *not* like: a row counts for what sets it apart from the pool.
    """
    odds = log_odds(candidates)
    places = candidates.open()
    best = places[np.argsort(-odds[places], kind="stable")[:k]]
    return Picks(best, [f"log odds {odds[i]:.3f} of the target set" for i in best.tolist()])


def log_odds(candidates: Candidates) -> NDArray[np.float64]:
    """Return every candidate's log odds (n,) of being a target row instead of a row of the pool, rounded to 1e-3."""
    assert candidates.target is not None, "the recipe gives a target to strategies that need one"
    step = max(1, len(candidates) // POOL_SAMPLE)  # row_id order has nothing to do with content
    pool = candidates.embeddings[::step]
    vectors = np.concatenate([candidates.target, pool]).astype(np.float64)
    is_target = np.arange(len(vectors)) < len(candidates.target)
    with threadpool_limits(1):
        model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000, tol=1e-8)
        model.fit(vectors, is_target)
        weights = np.asarray(model.coef_[0], dtype=np.float64)
        odds = candidates.embeddings.astype(np.float64) @ weights + float(model.intercept_[0])
    return np.asarray(np.round(odds, 3))
