"""Greedy picks that depend on each row's nearest pick so far, without computing it for every row at every step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.strategies.types import Candidates
from curate.vectors.neighbours import ROUNDING, nearest

_REFRESHED = 256  # rows brought up to date together


def pick_lazily(
    candidates: Candidates, k: int, base: NDArray[np.float64], weight: float, rng: np.random.Generator | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """k open rows, each maximising base - weight * (cosine to its nearest pick so far); and those cosines, -inf for a
    first pick, which is random where `rng` is given and else the row with the largest base.

    A row's cosine to its nearest pick only grows, so a score that is out of date is an upper bound: only rows whose
    bound is on top are brought up to date, 256 in one matrix product (lazy evaluation: Minoux, 1978). Rows near a pick
    (`near_duplicate`) are left out while others remain.
    """
    vectors, n = candidates.embeddings, len(candidates)
    picked = np.empty(len(candidates.picked) + k, dtype=np.int64)
    n_picked = len(candidates.picked)
    picked[:n_picked] = candidates.picked
    places = candidates.open()
    seen = np.full(n, n_picked)
    closest = np.full(n, -np.inf, dtype=np.float32)
    closest[places] = nearest(vectors[places], vectors[candidates.picked])[1]
    score = np.full(n, -np.inf)
    score[places] = base[places] - weight * np.maximum(closest[places], -1)
    order: list[int] = []
    cosines: list[float] = []
    while len(order) < min(k, len(places)):
        if n_picked == 0 and rng is not None:
            best = int(rng.choice(places) if candidates.luck is None else places[np.argmin(candidates.luck[places])])
        else:
            best = _refreshed_best(vectors, picked[:n_picked], seen, closest, score, base, weight)
            if candidates.near_duplicate - ROUNDING <= closest[best] and score[best] > -np.inf:
                score[best] = -np.inf
                continue
            if score[best] == -np.inf:  # nothing but near-duplicates is left: the caller will say so
                left = places[~np.isin(places, picked[:n_picked])][: k - len(order)]
                return np.array([*order, *left], dtype=np.int64), np.array([*cosines, *closest[left]], dtype=np.float32)
        order.append(best)
        cosines.append(float(closest[best]))
        picked[n_picked] = best
        n_picked += 1
        score[best] = -np.inf
    return np.array(order, dtype=np.int64), np.array(cosines, dtype=np.float32)


def _refreshed_best(
    vectors: NDArray[np.float32],
    picked: NDArray[np.int64],
    seen: NDArray[np.int64],
    closest: NDArray[np.float32],
    score: NDArray[np.float64],
    base: NDArray[np.float64],
    weight: float,
) -> int:
    """The row with the largest score, up to date; the first of equals."""
    while True:
        best = int(np.argmax(score))
        if seen[best] == len(picked) or score[best] == -np.inf:
            return best
        size = min(_REFRESHED, len(score))
        top = np.argpartition(-score, size - 1)[:size]
        top = top[(seen[top] < len(picked)) & (score[top] > -np.inf)]
        cosine = (vectors[top] @ vectors[picked[seen[top].min() :]].T).max(axis=1)
        closest[top] = np.maximum(closest[top], np.round(cosine, 5))
        score[top] = base[top] - weight * np.maximum(closest[top], -1)
        seen[top] = len(picked)
