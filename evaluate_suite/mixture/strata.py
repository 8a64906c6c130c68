"""Strata of a pool (source x length x cluster), the shares of tokens that proxy runs give them, and the best ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from curate.artifact import digest_json
from curate.errors import UserError
from curate.scores.mixture_record import ProxyRun, Stratum
from curate.vectors.clustering import build_clusters
from evaluate_suite.mixture.law import TRIED, best_shares, fit_law
from evaluate_suite.mixture.world import World

LEAST_SHARE = 0.02  # of the tokens; what is smaller is not split off
LENGTHS = ("short", "middle", "long")
OTHERS = "other sources"
MOST_TAKEN = 0.9  # of a stratum's tokens: the rest leaves room for chance


@dataclass(frozen=True)
class ByStrata:
    """A pool in strata, and the shares (runs x s) that proxy runs give them.

    `place` (n,) is each row's stratum; `tried` are shares among which the best are looked for.
    """

    by: ClassVar[Literal["strata"]] = "strata"
    decided_by: ClassVar[list[Any]] = []  # beside the runs
    row_ids: list[str]
    row_tokens: NDArray[np.int64]
    names: list[str]
    place: NDArray[np.int64]
    drawn: NDArray[np.float64]
    tried: NDArray[np.float64]

    @property
    def tokens(self) -> NDArray[np.float64]:
        """The strata's tokens in the pool (s,)."""
        return np.bincount(self.place, weights=self.row_tokens, minlength=len(self.names)).astype(np.float64)

    def luck(self, number: int) -> int:
        """Return the number of a run's draw."""
        return number

    def digest(self, number: int) -> str:
        """Return the digest of what a run draws by."""
        lines = [[row_id, int(stratum)] for row_id, stratum in zip(self.row_ids, self.place, strict=True)]
        return digest_json([self.names, self.drawn[number].tolist(), lines])

    def of_run(self, number: int) -> tuple[dict[str, Any], list[int]]:
        """Return what the record of a run's own mixture holds, and its rows' values."""
        return {"strata": self._strata(self.drawn[number])}, self.place.tolist()

    def fit(
        self, losses: NDArray[np.float64], picked: Sequence[Sequence[str]], min_correlation: float
    ) -> tuple[dict[str, Any], list[int]]:
        """Return what the record holds, and the rows' values: by the best shares, the law being of what was picked."""
        at = {row_id: i for i, row_id in enumerate(self.row_ids)}
        shares = np.array([self._shares_of([at[row_id] for row_id in row_ids]) for row_ids in picked])
        pool = self.tokens / self.tokens.sum()
        law, best = best_shares(fit_law(shares, losses, min_correlation), self.tried, pool)
        proxies = [
            ProxyRun(number=number, shares=own.tolist(), loss=float(loss))
            for number, (own, loss) in enumerate(zip(shares, losses, strict=True))
        ]
        return {"strata": self._strata(np.array(best)), "law": law, "proxies": proxies}, self.place.tolist()

    def notes(self) -> list[str]:
        """What is to be said before the runs are trained."""
        return []

    def _shares_of(self, rows: Sequence[int]) -> NDArray[np.float64]:
        """The shares (s,) of the tokens that rows, by their places, gave."""
        tokens = np.bincount(self.place[rows], weights=self.row_tokens[rows], minlength=len(self.names))
        return np.asarray(tokens / tokens.sum())

    def _strata(self, shares: NDArray[np.float64]) -> list[Stratum]:
        rows, tokens = np.bincount(self.place, minlength=len(self.names)), self.tokens
        return [
            Stratum(
                name=name, rows=int(rows[i]), tokens=int(tokens[i]), pool_share=float(tokens[i] / tokens.sum()),
                share=float(shares[i]),
            )
            for i, name in enumerate(self.names)
        ]  # fmt: skip


def by_strata(world: World, proxies: int, clusters: int, spread: float, seed: int, budget: float) -> ByStrata:
    """Return the world's strata, and each run's shares of its `budget` of tokens."""
    labels = build_clusters(world.vectors, clusters, np.random.default_rng([seed, 1]))[0]
    names, place = np.unique(name_strata([row.source for row in world.rows], world.tokens, labels), return_inverse=True)
    tokens = np.bincount(place, weights=world.tokens).astype(np.float64)
    most, pool = most_shares(tokens, budget), tokens / tokens.sum()
    drawn = [draw_shares(pool, most, 1, spread, np.random.default_rng([seed, 2, run])) for run in range(proxies)]
    tried = draw_shares(pool, most, TRIED, spread, np.random.default_rng([seed, 3]))
    return ByStrata(world.row_ids, world.tokens, [str(name) for name in names], place, np.concatenate(drawn), tried)


def name_strata(sources: Sequence[str], tokens: NDArray[np.int64], clusters: NDArray[np.int32]) -> NDArray[np.str_]:
    """Return the name (n,) of every row's stratum: its source, its third by tokens, its cluster.

    A split that would leave a part with less than 2% of the tokens is not made.
    """
    thirds = np.digitize(tokens, np.quantile(tokens, [1 / 3, 2 / 3]), right=True)
    names = without_small(sources, tokens)
    by_length = np.array([f"{name}, {LENGTHS[third]}" for name, third in zip(names, thirds, strict=True)], dtype=object)
    by_length = np.where(_small(by_length, tokens), names, by_length)
    whole = np.array([f"{name}, cluster {c + 1}" for name, c in zip(by_length, clusters, strict=True)], dtype=object)
    too_small = set(by_length[_small(whole, tokens)].tolist())  # where one part is, no part is split off
    return np.array([a if a in too_small else b for a, b in zip(by_length, whole, strict=True)], dtype=str)


def without_small(sources: Sequence[str], tokens: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return the source (n,) of every row; those with less than 2% of the tokens are one."""
    names = np.array(sources, dtype=object)
    names[_small(names, tokens)] = OTHERS
    return names


def _small(names: NDArray[np.object_], tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the rows (n,) are of a name that has less than the least share of the tokens."""
    _, place = np.unique(names.astype(str), return_inverse=True)
    share = np.bincount(place, weights=tokens) / tokens.sum()
    return np.asarray(share[place] < LEAST_SHARE)


def most_shares(stratum_tokens: NDArray[np.float64], budget: float) -> NDArray[np.float64]:
    """Return the largest share (s,) of `budget` tokens that each stratum can give; an error where none can vary."""
    require_room(stratum_tokens.sum(), budget)
    return np.asarray(np.minimum(1.0, MOST_TAKEN * stratum_tokens / budget))


def require_room(tokens: float, budget: float) -> None:
    """Raise a `UserError` where any draw of `budget` tokens is nearly the whole pool."""
    if MOST_TAKEN * tokens < budget:
        raise UserError(
            f"{budget:,.0f} of the pool's {tokens:,.0f} tokens leave no room to mix.",
            "Take a smaller budget, or a larger pool.",
        )


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
