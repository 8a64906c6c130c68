"""A mixing law: how the loss on each stratum depends on the tokens drawn from all strata, fitted on short runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_picks import Rows

KEPT = 0.3  # of the pool's own shares in what is recommended
FOLDS = 5


def relation(n: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which strata (n x n) are of one source, and which of others; six strata make up a source."""
    source = np.arange(n) // 6
    same = source[:, None] == source[None]
    return same & ~np.eye(n, dtype=bool), ~same


def predicted(parameters: NDArray[np.float64], tokens: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the log loss of every stratum (runs x n): c_t - a_t log(1 + (n_t + k1 same source + k2 others) / scale).

    `tokens` (runs x n); k1 and k2 are shared by all strata.
    """
    near, far = relation(n)
    c, a = parameters[:n], np.exp(parameters[n : 2 * n])
    k1, k2, scale = np.exp(parameters[2 * n :])
    mix = np.eye(n) + k1 * near + k2 * far
    return np.asarray(c - a * np.log1p(tokens @ mix.T / (1000 * scale)))


def fit(tokens: NDArray[np.float64], losses: NDArray[np.float64], trust: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the law's parameters by least squares on log losses; `trust` (n,) weighs strata by their tokens of V."""
    n = losses.shape[1]
    start = np.concatenate([np.log(losses).mean(axis=0) + 0.3, np.full(n, np.log(0.08)), np.log([0.4, 0.15, 1.0])])
    root = np.sqrt(trust / trust.mean())

    def residuals(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        off = (predicted(parameters, tokens, n) - np.log(losses)) * root
        pulled = parameters[n : 2 * n] - parameters[n : 2 * n].mean()  # slopes differ little unless the runs say so
        return np.concatenate([off.ravel(), 0.02 * pulled, 0.01 * (parameters[2 * n :] - start[2 * n :])])

    return np.asarray(least_squares(residuals, start, max_nfev=60).x)


def law(
    tokens: NDArray[np.float64],
    losses: NDArray[np.float64],
    pool: NDArray[np.float64],
    v: NDArray[np.float64],
    budget: float,
) -> dict[str, Any]:
    """Return the recommended share of every stratum, for V as it is and for the mean over sources.

    `tokens` (runs x n) drawn and `losses` (runs x n) on V's strata; `pool` and `v` (n,) are tokens there and labelled
    tokens of V. With it: the rank correlation between predicted and measured loss of runs left out.
    """
    n = losses.shape[1]
    source = np.arange(n) // 6
    of_source = np.array([v[source == s].sum() for s in range(n // 6)])
    goals = {"V": v / v.sum(), "mean over sources": v / of_source[source] / (n // 6)}
    fold = np.random.default_rng(0).permutation(len(losses)) % FOLDS
    left_out = np.zeros_like(losses)
    for number in range(FOLDS):
        own = fit(tokens[fold != number], losses[fold != number], v)
        left_out[fold == number] = np.exp(predicted(own, tokens[fold == number], n))
    whole = fit(tokens, losses, v)
    now = pool / pool.sum()
    cap = np.minimum(0.6 * pool / budget, 4 * now)
    result: dict[str, Any] = {"runs": len(losses), "pool_shares": now.tolist(), "parameters": whole.tolist()}
    for name, goal in goals.items():

        def value(logits: NDArray[np.float64], goal: NDArray[np.float64] = goal) -> float:
            shares = np.exp(logits - logits.max()) * now
            shares /= shares.sum()
            over = np.maximum(0, shares - cap).sum()
            loss = (goal * np.exp(predicted(whole, budget * shares[None], n)[0])).sum()
            return float(loss + over + 1e-4 * (logits**2).mean())

        best = minimize(value, np.zeros(n), method="L-BFGS-B").x
        shares = np.exp(best - best.max()) * now
        shares = (1 - KEPT) * shares / shares.sum() + KEPT * now
        result[name] = {
            "shares": shares.tolist(),
            "predicted_percent": 100 * (value(np.log(shares / now)) / value(np.zeros(n)) - 1),
            "rank_correlation": float(spearmanr(left_out @ goal, losses @ goal).statistic),
        }
    return result


def law_of(rows: Rows, proxies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the law of a study's proxy runs: results with the `rows` they picked and V's losses (`V_rows`)."""
    data, strata, n = rows.data, rows.strata(), 6 * len(rows.plan["sources"])
    of_v, place = rows.strata("V"), {int(row): i for i, row in enumerate(rows.pool)}
    lengths = data["lengths"][rows.pool].astype(np.float64)
    v_tokens = np.bincount(of_v, rows.learned(rows.steering), n)
    tokens, losses = np.zeros((len(proxies), n)), np.zeros((len(proxies), n))
    for number, run in enumerate(proxies):
        picked = np.array([place[row] for row in run["rows"]])
        tokens[number] = np.bincount(strata[picked], lengths[picked], n)
        losses[number] = np.where(v_tokens > 0, np.bincount(of_v, run["V_rows"], n) / np.maximum(1, v_tokens), 1.0)
    pool = np.bincount(strata, lengths, n).astype(np.float64)
    return law(tokens, losses, pool, v_tokens.astype(np.float64), rows.plan["budget"])
