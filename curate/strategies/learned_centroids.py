"""`learned-centroids`: k points learned to cover the pool and keep apart, and the rows nearest to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.strategies.types import Candidates, Picks
from curate.vectors.neighbours import nearest

TEMPERATURE = 0.07
LEARNING_RATE = 1e-3
_BATCH_ROWS = 4096
_MOST_APART = 2048  # points whose distances to each other are looked at in one step


def select(candidates: Candidates, k: int, rng: np.random.Generator, steps: int) -> Picks:
    """k unit points, started at random rows and learned; each then takes the row nearest to it that is not taken.

    Lyu et al., 2025 (arXiv 2507.02378), after Xie et al., 2023 (arXiv 2303.14382): the loss is minus the mean cosine of
    a row to its nearest point, over the temperature, plus the mean over points of the log-sum-exp of its cosines to the
    others, over the temperature, with weight 1. (Their code joins the two terms, row by row, in one logarithm; this is
    the text's.) Temperature 0.07, Adam with a learning rate of 0.001 and 300 steps are their code's defaults. Where the
    pool is larger, a step looks at 4,096 random rows, and keeps at most 2,048 random points apart.
    """
    places = candidates.open()
    k = min(k, len(places))
    n_fixed = len(candidates.picked)
    starts = np.concatenate([candidates.picked, candidates.shuffled(places, rng)[:k]])
    points = candidates.embeddings[starts].astype(np.float64)
    mean, square = np.zeros_like(points), np.zeros_like(points)
    for step in range(1, steps + 1):
        gradient = _gradient(candidates.embeddings, points, rng)
        gradient[:n_fixed] = 0
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        points -= LEARNING_RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    return _take_nearest(candidates, places, points[n_fixed:].astype(np.float32))


def _gradient(
    vectors: NDArray[np.float32], points: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Gradient of the loss at `points` (m x d), on a random batch of rows."""
    batch = vectors if len(vectors) <= _BATCH_ROWS else vectors[rng.permutation(len(vectors))[:_BATCH_ROWS]]
    owner = nearest(batch, points.astype(np.float32))[0]
    gradient = np.zeros_like(points)
    np.add.at(gradient, owner, batch.astype(np.float64))
    gradient /= -len(batch) * TEMPERATURE
    some = np.arange(len(points)) if len(points) <= _MOST_APART else rng.permutation(len(points))[:_MOST_APART]
    if len(some) > 1:
        apart = points[some].astype(np.float32)
        cosine = apart @ apart.T / np.float32(TEMPERATURE)
        np.fill_diagonal(cosine, -np.inf)
        share = np.exp(cosine - cosine.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        gradient[some] += (share + share.T) @ apart / (len(some) * TEMPERATURE)
    return gradient


def _take_nearest(candidates: Candidates, places: NDArray[np.int64], points: NDArray[np.float32]) -> Picks:
    """Each point takes the nearest row that no point before it took; those left with none look again."""
    chosen = np.full(len(points), -1, dtype=np.int64)
    cosines = np.zeros(len(points), dtype=np.float32)
    free = places
    while len(waiting := np.flatnonzero(chosen < 0)):
        place, cosine = nearest(points[waiting], candidates.embeddings[free])
        _, first = np.unique(place, return_index=True)
        chosen[waiting[first]] = free[place[first]]
        cosines[waiting[first]] = cosine[first]
        free = np.delete(free, place[first])
    reasons = [f"cosine {cosine:.4f} to learned centroid {j + 1}" for j, cosine in enumerate(cosines.tolist())]
    return Picks(chosen, reasons)
