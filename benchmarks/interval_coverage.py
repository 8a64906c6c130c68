"""How often our 95% intervals hold the truth and our tests raise a false alarm, by simulation, as one JSON object.

    python benchmarks/interval_coverage.py                    # 2,000 data sets a kind, two hours of one core
    python benchmarks/interval_coverage.py --repeats 200      # a quick look
    python benchmarks/interval_coverage.py --only few_draws   # one part: few_draws, false_winners, ways, pairing, other

Every data set is drawn from a population whose true value is known; its shape is that of what we measure: lopsided
losses that rows share between runs, outputs of 20 to 300 tokens, answers right or wrong on tasks of unlike difficulty,
strategies whose draws differ. `standard_error_ratio` is that of an unpaired comparison over that of the paired one.
Kinds that need no resampling get five times the data sets: their share is then known to 0.2 points, that of the others
to 0.5 (standard errors of the simulation itself).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.random import Generator

from benchmarks.strategy_populations import KINDS, Population, false_winners, interval_shares, pairing
from benchmarks.strategy_rivals import compare_ways
from evaluate_suite.statistics.equivalents import random_equivalent
from evaluate_suite.statistics.levels import MeasuredRun, compare_strategies
from evaluate_suite.statistics.pairs import (
    bootstrap_interval,
    compare_runs,
    mean_with_interval,
    paired_difference,
    paired_gain,
    ratio_with_interval,
    share_with_interval,
)

FEW_DRAWS = ((2, 2), (3, 3), (2, 5), (2, 10))
SIX_DRAWS = ((2,) * 6, (3,) * 6, (2, 2, 3, 3, 5, 5), (5,) * 6)
SIX_SPREADS = ((1.0,) * 6, (1.0, 1.0, 1.0, 3.0, 3.0, 3.0), (1.0,) * 5 + (3.0,), (3.0, 3.0, 2.0, 2.0, 1.0, 1.0))
TRUE_EFFECT = 0.02  # nats a token between two runs or strategies
Bounds = tuple[float | None, float | None, float]


def rows(rng: Generator, n: int) -> tuple[Any, Any]:
    """(nats a token, tokens) of n held-out rows; longer outputs are easier a token."""
    tokens = rng.integers(20, 300, n).astype(float)
    return rng.gamma(4, 0.3, n) * (tokens / 100) ** -0.15, tokens


def true_ratio() -> float:
    tokens = np.arange(20, 300).astype(float)
    return float((1.2 * tokens * (tokens / 100) ** -0.15).sum() / tokens.sum())


def mean(rng: Generator) -> Bounds:
    found = mean_with_interval(rng.gamma(4, 0.3, 72).tolist())
    return found.low, found.high, 1.2


def share(rng: Generator) -> Bounds:
    found = share_with_interval(int(rng.binomial(72, 0.62)), 72)
    return found.low, found.high, 0.62


def ratio(rng: Generator) -> Bounds:
    loss, tokens = rows(rng, 150)
    found = ratio_with_interval((loss * tokens).tolist(), tokens.tolist())
    return found.low, found.high, true_ratio()


def bootstrap(rng: Generator) -> Bounds:
    loss, tokens = rows(rng, 150)
    found = bootstrap_interval((loss * tokens).tolist(), tokens.tolist(), int(rng.integers(2**31)))
    return found.low, found.high, true_ratio()


def paired(rng: Generator) -> Bounds:
    loss, tokens = rows(rng, 150)
    other = (loss - TRUE_EFFECT + rng.normal(0, 0.08, 150)) * tokens
    found = paired_gain((loss * tokens).tolist(), other.tolist(), tokens.tolist())
    return found.low, found.high, TRUE_EFFECT


def clustered(rng: Generator) -> Bounds:
    """Two models, 60 tasks, 1 to 8 samples each: a task's difficulty is shared, its samples are not."""
    hard = rng.normal(0, 1.2, 60)
    shift = rng.normal(0.4, 0.6, 60)
    counts = rng.integers(1, 9, 60)
    names = [(task, sample) for task in range(60) for sample in range(counts[task])]
    values: dict[str, dict[Any, float]] = {}
    for name, level in (("a", hard), ("b", hard + shift)):
        chance = 1 / (1 + np.exp(-level))
        values[name] = {(task, sample): float(rng.random() < chance[task]) for task, sample in names}
    found = paired_difference("a", "b", values, clusters={item: item[0] for item in names})
    return found.low, found.high, CLUSTERED_TRUTH


def _clustered_truth() -> float:
    rng = np.random.default_rng(0)
    hard, shift = rng.normal(0, 1.2, 2_000_000), rng.normal(0.4, 0.6, 2_000_000)
    return float((1 / (1 + np.exp(-hard - shift)) - 1 / (1 + np.exp(-hard))).mean())


CLUSTERED_TRUTH = _clustered_truth()


def strategies(rng: Generator, n_draws: int, n_seeds: int, effect: float) -> tuple[list[MeasuredRun], dict[Any, float]]:
    """Runs of two strategies on the same 80 rows: draws, seeds and rows each add their own chance."""
    loss, tokens = rows(rng, 80)
    runs = []
    for name, level in (("a", 0.0), ("b", effect)):
        taste = rng.normal(0, 0.05, 80)  # some rows gain more from a strategy than others
        for draw in range(n_draws):
            moved = level + rng.normal(0, 0.02)
            for seed in range(n_seeds):
                total = (loss + taste + moved + rng.normal(0, 0.01) + rng.normal(0, 0.08, 80)) * tokens
                runs.append(MeasuredRun(f"{name}{draw}{seed}", name, f"{name}{draw}", seed, dict(enumerate(total))))
    return runs, dict(enumerate(tokens))


def hierarchical(n_draws: int, n_seeds: int) -> Callable[[Generator], Bounds]:
    def draw(rng: Generator) -> Bounds:
        runs, tokens = strategies(rng, n_draws, n_seeds, TRUE_EFFECT)
        pair = compare_strategies(runs, higher_is_better=False, weights=tokens).pairs[0]
        return pair.low, pair.high, TRUE_EFFECT

    return draw


YES_NO_EFFECT = 0.5  # between two strategies, in log-odds of a clean answer
YES_NO_SPREADS = (1.5, 0.5, 0.3)  # of the prompts, of a strategy's taste in prompts, of its draws


def clean_answers(rng: Generator, n_draws: int, effect: float) -> list[MeasuredRun]:
    """Runs of two strategies on the same 72 prompts, each answered cleanly or not."""
    prompts, tastes, draws = YES_NO_SPREADS
    ease = rng.normal(0.5, prompts, 72)
    runs = []
    for name, level in (("a", 0.0), ("b", effect)):
        taste = rng.normal(level, tastes, 72)
        for draw in range(n_draws):
            chance = 1 / (1 + np.exp(-(ease + taste + rng.normal(0, draws))))
            clean = (rng.random(72) < chance).astype(float)
            runs.append(MeasuredRun(f"{name}{draw}", name, f"{name}{draw}", 0, dict(enumerate(clean))))
    return runs


def _clean_truth() -> float:
    log_odds = np.random.default_rng(0).normal(0.5, math.hypot(*YES_NO_SPREADS), 2_000_000)
    return float((1 / (1 + np.exp(-log_odds - YES_NO_EFFECT)) - 1 / (1 + np.exp(-log_odds))).mean())


CLEAN_TRUTH = _clean_truth()


def hierarchical_yes_no(n_draws: int) -> Callable[[Generator], Bounds]:
    def draw(rng: Generator) -> Bounds:
        runs = clean_answers(rng, n_draws, YES_NO_EFFECT)
        pair = compare_strategies(runs, higher_is_better=True, bounds=(0.0, 1.0)).pairs[0]
        return pair.low, pair.high, CLEAN_TRUTH

    return draw


def equivalent(rng: Generator) -> Bounds:
    """A strategy worth 40,000 random tokens; random selections at four budgets, three draws each."""

    def score(tokens: float) -> float:
        return 2.5 - 0.12 * math.log(tokens / 10_000) + float(rng.normal(0, 0.02))

    curve = {tokens: [score(tokens) for _ in range(3)] for tokens in (10_000.0, 25_000.0, 60_000.0, 150_000.0)}
    found = random_equivalent(curve, [score(40_000.0) for _ in range(3)], seed=int(rng.integers(2**31)))
    return found.low or 0.0, found.high or math.inf, 40_000.0


COVERAGE: dict[str, Callable[[Generator], Bounds]] = {
    "mean": mean,
    "share": share,
    "ratio": ratio,
    "bootstrap": bootstrap,
    "paired": paired,
    "clustered": clustered,
    "hierarchical, 2 draws": hierarchical(2, 1),
    "hierarchical, 3 draws": hierarchical(3, 1),
    "hierarchical, 3 draws of 2 seeds": hierarchical(3, 2),
    "hierarchical, 6 draws": hierarchical(6, 1),
    "hierarchical yes/no, 2 draws": hierarchical_yes_no(2),
    "hierarchical yes/no, 3 draws": hierarchical_yes_no(3),
    "hierarchical yes/no, 6 draws": hierarchical_yes_no(6),
    "random-equivalent": equivalent,
}


CHEAP = ("mean", "share", "ratio", "paired")


def coverage(draw: Callable[[Generator], Bounds], repeats: int, seed: int) -> float:
    """Share of data sets whose interval holds the truth; an interval that is absent does not."""
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(repeats):
        low, high, truth = draw(rng)
        held += low is not None and high is not None and low <= truth <= high
    return held / repeats


def false_alarms(repeats: int, seed: int) -> dict[str, float]:
    """Share of data sets without any difference in which some winner was named: four runs, all six pairs."""
    rng = np.random.default_rng(seed)
    holm = uncorrected = 0
    for _ in range(repeats):
        loss, tokens = rows(rng, 60)
        values: dict[str, dict[Any, float]] = {
            name: dict(enumerate((loss + rng.normal(0, 0.08, 60)) * tokens)) for name in "abcd"
        }
        pairs = compare_runs(values, higher_is_better=False, weights=dict(enumerate(tokens)))
        holm += any(pair.winner is not None for pair in pairs)
        uncorrected += any((pair.p or 1.0) <= 0.05 for pair in pairs)
    return {"holm": holm / repeats, "uncorrected": uncorrected / repeats}


def strategy_false_alarms(repeats: int, seed: int) -> dict[str, float]:
    """Two equal strategies of 3 draws: how often one is said to win, by draws, and by the rows of one draw each."""
    rng = np.random.default_rng(seed)
    by_draws = by_rows = 0
    for _ in range(repeats):
        runs, tokens = strategies(rng, 3, 1, 0.0)
        by_draws += compare_strategies(runs, higher_is_better=False, weights=tokens).pairs[0].winner is not None
        one: dict[str, Any] = {run.strategy: run.values for run in runs if run.draw.endswith("0")}
        low, high = (lambda gain: (gain.low or 0.0, gain.high or 0.0))(
            paired_gain(list(one["a"].values()), list(one["b"].values()), list(tokens.values()))
        )
        by_rows += low * high > 0
    return {"by_draws": by_draws / repeats, "by_rows_of_one_draw": by_rows / repeats}


def clean_answer_false_alarms(repeats: int, seed: int) -> dict[str, float]:
    """The same for yes and no: two equal strategies of 3 draws, by draws, and by the prompts of one draw each."""
    rng = np.random.default_rng(seed)
    by_draws = by_prompts = 0
    for _ in range(repeats):
        runs = clean_answers(rng, 3, 0.0)
        by_draws += compare_strategies(runs, higher_is_better=True).pairs[0].winner is not None
        one = {run.strategy: run.values for run in runs if run.draw.endswith("0")}
        by_prompts += compare_runs(one, higher_is_better=True)[0].winner is not None
    return {"by_draws": by_draws / repeats, "by_prompts_of_one_draw": by_prompts / repeats}


def standard_error_ratio(seed: int, repeats: int = 200) -> float:
    """Standard error of an unpaired comparison over that of the paired one, on runs that share their rows' losses."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        loss, tokens = rows(rng, 150)
        a, b = ((loss + rng.normal(0, 0.08, 150)) * tokens for _ in range(2))
        widths = [
            (i.high or 0.0) - (i.value or 0.0)
            for i in (
                ratio_with_interval(a.tolist(), tokens.tolist()),
                ratio_with_interval(b.tolist(), tokens.tolist()),
                paired_gain(a.tolist(), b.tolist(), tokens.tolist()),
            )
        ]
        found.append(math.hypot(widths[0], widths[1]) / widths[2])
    return float(np.median(found))


def few_draws(repeats: int, seed: int) -> dict[str, dict[str, float]]:
    """Coverage of a pair's difference and of a strategy's own interval, by shape of the rows and draws of the two."""
    cells = [Population(kind, draws) for kind in KINDS for draws in FEW_DRAWS]
    cells += [Population("lopsided", draws, spreads) for draws in FEW_DRAWS for spreads in ((3.0, 1.0), (1.0, 3.0))]
    cells += [Population("lopsided", (3, 3), shared=0.83)]
    return {cell.title: interval_shares(cell, repeats, seed) for cell in cells}


def all_false_winners(repeats: int, seed: int) -> dict[str, dict[str, float]]:
    """Six equal strategies: some winner, and how often a pair's p is small, by draws, spreads and shape of the rows."""
    cells = [Population("lopsided", draws, spreads) for draws in SIX_DRAWS for spreads in SIX_SPREADS]
    cells += [Population(kind, (2,) * 6) for kind in KINDS[1:]]
    return {cell.title: false_winners(cell, repeats, seed) for cell in cells}


def all_ways(repeats: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Other ways to compare, beside ours."""
    return {
        f"{draws} draws, spreads {spreads}": compare_ways(draws, spreads, repeats, seed)
        for draws in SIX_DRAWS
        for spreads in SIX_SPREADS[:2]
    }


def other_kinds(repeats: int, seed: int) -> dict[str, Any]:
    """Everything but strategies of few draws."""
    return {
        "coverage": {
            name: coverage(draw, repeats * (5 if name in CHEAP else 1), seed) for name, draw in COVERAGE.items()
        },
        "false_alarms": false_alarms(repeats // 2, seed),
        "strategy_false_alarms": strategy_false_alarms(repeats, seed),
        "clean_answer_false_alarms": clean_answer_false_alarms(repeats // 2, seed),
        "standard_error_ratio": round(standard_error_ratio(seed), 2),
    }


PARTS: dict[str, Callable[[int, int], Any]] = {
    "few_draws": few_draws,
    "false_winners": all_false_winners,
    "ways": all_ways,
    "pairing": pairing,
    "other": other_kinds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=PARTS)
    args = parser.parse_args()
    parts = [args.only] if args.only else list(PARTS)
    record = {"repeats": args.repeats} | {name: PARTS[name](args.repeats, args.seed) for name in parts}
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
