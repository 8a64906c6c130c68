"""Made-up runs of strategies whose truth is known, for `interval_coverage.py`: rows of five shapes, draws that scatter.

Every strategy's runs share the rows; a strategy has its own taste in rows, a draw its own luck, and single answers
theirs. Losses are lopsided (gamma), heavy-tailed (Student's t with 3 degrees of freedom) or lognormal; answers are yes
or no, or rarely yes (5 in 100).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from curate.strategies.coordinated import row_luck
from evaluate_suite.statistics.levels import LevelledComparison, MeasuredRun, compare_strategies

ROWS = 80
DRAW_SPREAD = 0.02  # nats a token between draws of a strategy of spread 1
LOG_ODDS = {"yes/no": (0.5, 1.5, 0.5, 0.3), "rare yes/no": (-4.0, 1.5, 0.5, 0.3)}  # mean; of rows, tastes, draws
MEAN_LOSS = 1.2

SHAPES: dict[str, Callable[[Generator, int], NDArray[np.float64]]] = {  # mean 0, variance 1
    "lopsided": lambda rng, n: (rng.gamma(4, 1, n) - 4) / 2,
    "heavy-tailed": lambda rng, n: rng.standard_t(3, n) / math.sqrt(3),
    "lognormal": lambda rng, n: (np.exp(rng.normal(0, 1, n)) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e),
}
KINDS = (*SHAPES, *LOG_ODDS)


@dataclass(frozen=True)
class Population:
    """Strategies with so many draws each, whose draws scatter by multiples of what is usual; all are equally good."""

    kind: str
    draws: tuple[int, ...]
    spreads: tuple[float, ...] = ()
    shared: float = 0.0  # correlation of the luck of draws that share their random numbers

    @property
    def title(self) -> str:
        """What it is called in the benchmark's record."""
        spreads = f", spreads {self.spreads}" if self.spreads else ""
        return f"{self.kind}, {self.draws} draws{spreads}" + (", coordinated" if self.shared else "")

    def runs(self, rng: Generator) -> list[MeasuredRun]:
        """One data set."""
        spreads = self.spreads or (1.0,) * len(self.draws)
        common = rng.normal(0, 1, max(self.draws))
        row = self._rows(rng)
        runs = []
        for s, (n_draws, spread) in enumerate(zip(self.draws, spreads, strict=True)):
            taste = self._rows(rng, 1)
            for d in range(n_draws):
                luck = spread * (
                    math.sqrt(self.shared) * common[d] + math.sqrt(1 - self.shared) * float(rng.normal(0, 1))
                )
                values = self._values(rng, row + taste, luck)
                name = f"{s}-{d}"
                shared = d if self.shared else None
                runs.append(MeasuredRun(name, str(s), name, 0, dict(enumerate(values.tolist())), shared))
        return runs

    def compare(self, rng: Generator) -> LevelledComparison:
        """The comparison of one data set's strategies."""
        bounds = (0.0, 1.0) if self.kind in LOG_ODDS else (-math.inf, math.inf)
        return compare_strategies(self.runs(rng), higher_is_better=False, bounds=bounds)

    def _rows(self, rng: Generator, level: int = 0) -> NDArray[np.float64]:
        """What is alike in all runs (level 0), or in all runs of one strategy (level 1)."""
        if self.kind in LOG_ODDS:
            mean, *sizes = LOG_ODDS[self.kind]
            return rng.normal(0.0 if level else mean, sizes[level], ROWS)
        return (0.0, MEAN_LOSS)[not level] + (0.6, 0.05)[level] * SHAPES[self.kind](rng, ROWS)

    def _values(self, rng: Generator, rows: NDArray[np.float64], luck: float) -> NDArray[np.float64]:
        if self.kind in LOG_ODDS:
            return (rng.random(ROWS) < 1 / (1 + np.exp(-rows - LOG_ODDS[self.kind][3] * luck))).astype(float)
        return rows + DRAW_SPREAD * luck + 0.08 * SHAPES[self.kind](rng, ROWS)


@cache
def true_value(kind: str, spread: float) -> float:
    """What a strategy of this spread scores on average over draws and rows."""
    if kind not in LOG_ODDS:
        return MEAN_LOSS
    mean, rows, taste, draws = LOG_ODDS[kind]
    log_odds = np.random.default_rng(0).normal(mean, math.hypot(rows, taste, spread * draws), 2_000_000)
    return float((1 / (1 + np.exp(-log_odds))).mean())


def interval_shares(population: Population, repeats: int, seed: int) -> dict[str, float]:
    """How often the interval of the first pair's difference, and that of the first strategy's own figure, hold the
    truth, in percent; one that is absent does not."""
    rng = np.random.default_rng(seed)
    spreads = population.spreads or (1.0,) * len(population.draws)
    first, second = (true_value(population.kind, spread) for spread in spreads[:2])
    held = {"pair": 0, "own": 0}
    for _ in range(repeats):
        compared = population.compare(rng)
        for name, interval, truth in (
            ("pair", compared.pairs[0], second - first),
            ("own", compared.estimates["0"], first),
        ):
            held[name] += (
                interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high
            )
    return {name: round(100 * n / repeats, 1) for name, n in held.items()}


def false_winners(population: Population, repeats: int, seed: int) -> dict[str, float]:
    """Percent of data sets with some winner, Holm over all pairs; percent of pairs with p at most .05 and .05 / 15."""
    rng = np.random.default_rng(seed)
    some, small, smallest = 0, [], []
    for _ in range(repeats):
        pairs = population.compare(rng).pairs
        p = np.array([1.0 if pair.p is None else pair.p for pair in pairs])
        some += any(pair.winner is not None for pair in pairs)
        small.append(float((p <= 0.05).mean()))
        smallest.append(float((p <= 0.05 / 15).mean()))
    shares: tuple[Any, ...] = (some / repeats, np.mean(small), np.mean(smallest))
    names: Sequence[str] = ("some winner", "p <= .05", "p <= .05/15")
    return {name: round(100 * float(share), 2) for name, share in zip(names, shares, strict=True)}


def pairing(repeats: int, seed: int) -> dict[str, dict[str, float]]:
    """What coordinated draws of 1,000 of 8,000 rows share with random's, and the variance of the difference of two
    draws' means over that of draws that share nothing: for a filter that drops 15% of the rows, and for log-normal
    sampling weights. What a row does to a model's loss is taken to add up."""
    rng = np.random.default_rng(seed)
    ids, k = [str(i) for i in range(8_000)], 1_000
    effects, kept = rng.normal(0, 1, len(ids)), rng.random(len(ids)) < 0.85
    weights = np.exp(rng.normal(0, 1, len(ids)))

    def picks(luck: NDArray[np.float64], name: str) -> NDArray[np.int64]:
        key = -np.log1p(-luck) / weights if name == "log-normal weights" else luck
        return np.argsort(np.where(kept, key, np.inf) if name == "filter of 15%" else key)[:k]

    found = {}
    for name in ("filter of 15%", "log-normal weights"):
        together, apart, shared = [], [], []
        for draw in range(repeats):
            luck, other = row_luck(ids, draw), row_luck(ids, repeats + draw)
            plain, own, alone = picks(luck, "random"), picks(luck, name), picks(other, name)
            shared.append(len(np.intersect1d(plain, own)) / k)
            together.append(float(effects[own].mean() - effects[plain].mean()))
            apart.append(float(effects[alone].mean() - effects[plain].mean()))
        factor = float(np.var(together, ddof=1) / np.var(apart, ddof=1))
        found[name] = {"picks shared": round(float(np.mean(shared)), 2), "variance factor": round(factor, 2)}
    return found
