"""Strata of a pool (source x length x cluster), and shares of tokens that proxy runs give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.errors import UserError

LEAST_SHARE = 0.02  # of the tokens; what is smaller is not split off
LENGTHS = ("short", "middle", "long")
OTHERS = "other sources"
MOST_TAKEN = 0.9  # of a stratum's tokens: the rest leaves room for chance


def name_strata(sources: Sequence[str], tokens: NDArray[np.int64], clusters: NDArray[np.int32]) -> NDArray[np.str_]:
    """Return the name (n,) of every row's stratum: its source, its third by tokens, its cluster.

    A split that would leave a part with less than 2% of the tokens is not made.
    """
    thirds = np.digitize(tokens, np.quantile(tokens, [1 / 3, 2 / 3]), right=True)
    names = np.array(sources, dtype=object)
    names[_small(names, tokens)] = OTHERS
    by_length = np.array([f"{name}, {LENGTHS[third]}" for name, third in zip(names, thirds, strict=True)], dtype=object)
    by_length = np.where(_small(by_length, tokens), names, by_length)
    whole = np.array([f"{name}, cluster {c + 1}" for name, c in zip(by_length, clusters, strict=True)], dtype=object)
    too_small = set(by_length[_small(whole, tokens)].tolist())  # where one part is, no part is split off
    return np.array([a if a in too_small else b for a, b in zip(by_length, whole, strict=True)], dtype=str)


def _small(names: NDArray[np.object_], tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the rows (n,) are of a name that has less than the least share of the tokens."""
    _, place = np.unique(names.astype(str), return_inverse=True)
    share = np.bincount(place, weights=tokens) / tokens.sum()
    return np.asarray(share[place] < LEAST_SHARE)


def most_shares(stratum_tokens: NDArray[np.float64], budget: float) -> NDArray[np.float64]:
    """Return the largest share (s,) of `budget` tokens that each stratum can give; an error where none can vary."""
    most = np.minimum(1.0, MOST_TAKEN * stratum_tokens / budget)
    if most.sum() < 1:
        raise UserError(
            f"{budget:,.0f} of the pool's {stratum_tokens.sum():,.0f} tokens leave no room to mix.",
            "Take a smaller budget, or a larger pool.",
        )
    return np.asarray(most)


def draw_shares(
    pool_shares: NDArray[np.float64], most: NDArray[np.float64], n: int, spread: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return n share vectors (n x s) about the pool's: each share times exp(spread x a standard normal number)."""
    shares = pool_shares * np.exp(spread * rng.standard_normal((n, len(pool_shares))))
    shares /= shares.sum(axis=1, keepdims=True)
    for _ in range(100):  # what a stratum cannot give goes to the others, in proportion
        over = shares > most
        shares = np.where(over, most, shares)
        missing = 1 - shares.sum(axis=1, keepdims=True)
        if np.all(missing < 1e-12):
            break
        free = np.where(shares < most, shares, 0.0)
        shares = shares + missing * free / np.maximum(free.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray(shares)
