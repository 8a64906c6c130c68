"""How much the words of a row are those of a target set: a linear classifier over counts of words and word pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from curate.pool.rows import Row

PARTS = ("instruction", "output")
COLUMNS = 2**14  # of counts, hashed, for instructions and again for outputs
WORDS = r"\w+|[^\w\s]|\n\s*"  # indentation is a word: it tells styles of code apart
STRENGTH = 1.0  # scikit-learn's C; 10 and 100 picked fewer rows of the target's kind
CHARS = 16_000  # of a text that are read


def word_odds(rows: Sequence[Row], target: Sequence[Row], rounds: int = 0, wanted: float = 0.0) -> NDArray[np.float64]:
    """Return the log odds (n,) that each of `rows` is a row of the target set, by its words, rounded to 1e-3.

    Logistic regression on hashed counts of words and word pairs, damped and weighted by rarity in the pool; instruction
    and output apart, and instructions alone where no target row has an output. Hashed n-grams are what DSIR weights
    rows by (Xie et al., 2023, arXiv 2302.03169); on found data they tell sources apart better than sentence vectors.

    With `rounds` it is fitted again that often (self-training: Yarowsky, 1995): of the share `wanted` (0 to 1) of the
    rows' characters that are to be picked, the first half by the last odds are target rows too, and none of it stands
    for the pool. Where the target is instructions alone, that half is the target, whole rows of it.
    """
    with_outputs = any(row.output.strip() for row in target)
    features = word_features([*target, *rows], PARTS if with_outputs else PARTS[:1])
    places = np.arange(len(target) + len(rows))
    mine, pool = places[: len(target)], places[len(target) :]
    odds = odds_between(features, mine, pool, pool)
    if rounds and not with_outputs:
        features, mine = word_features([*target, *rows]), mine[:0]
    chars = np.array([len(row.instruction) + len(row.output) for row in rows], dtype=np.float64)
    for _ in range(rounds):
        order = np.argsort(-odds, kind="stable")
        share = np.cumsum(chars[order]) / chars.sum()
        best, rest = pool[order[share <= wanted / 2]], pool[order[share > wanted]]
        if not len(best) or not len(rest):
            break
        odds = odds_between(features, np.concatenate([mine, best]), np.sort(rest), pool)
    return odds


def word_features(rows: Sequence[Row], parts: Sequence[str] = PARTS) -> Any:
    """Return counts of words and word pairs (n x columns, sparse), log(1 + count), for each of `parts` apart."""
    hashed = HashingVectorizer(
        token_pattern=WORDS, ngram_range=(1, 2), n_features=COLUMNS, alternate_sign=False, norm=None
    )
    counts = sparse.hstack([hashed.transform([getattr(row, part)[:CHARS] for row in rows]) for part in parts]).tocsr()
    counts.data = np.log1p(counts.data)
    return counts


def odds_between(
    features: Any, target: NDArray[np.int64], pool: NDArray[np.int64], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the log odds of the rows at `rows` (those at `pool` where None) of being like those at `target`, not like
    those at `pool`, from `word_features` of all. Both classes weigh the same, however few the target rows are.
    """
    asked = pool if rows is None else rows
    columns = [slice(start, start + COLUMNS) for start in range(0, features.shape[1], COLUMNS)]
    weights = [TfidfTransformer().fit(features[asked][:, part]) for part in columns]  # how rare a word is in the pool
    of_target, of_pool, of_asked = (
        sparse.hstack(
            [weight.transform(features[side][:, part]) for weight, part in zip(weights, columns, strict=True)]
        ).tocsr()
        for side in (target, pool, asked)
    )
    is_target = np.arange(len(target) + len(pool)) < len(target)
    with threadpool_limits(1):
        model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
        model.fit(sparse.vstack([of_target, of_pool]).tocsr(), is_target)
        return np.asarray(np.round(model.decision_function(of_asked), 3))
