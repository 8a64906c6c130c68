"""The statistics of the study "which rows?", by the project's own code: paired by draw, corrected by Holm.

From the JSON lines of `which_rows.py` and the plan: effects on the loss against random, worth in random's tokens, the
share of what only the target's own rows give, well-formed answers. Nothing here is made up: what was not run is absent.
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_cells import BANK_FROM
from benchmarks.which_rows_lines import key, read_lines
from benchmarks.which_rows_picks import Rows
from evaluate_suite.statistics.equivalents import random_equivalent
from evaluate_suite.statistics.levels import MeasuredRun, compare_strategies
from evaluate_suite.statistics.pairs import correct, ratio_with_interval
from evaluate_suite.statistics.types import PairedDifference

RANDOM, ONLY, WORDS = "random", "only that source", "target-words"
FEW = 3  # draws below which nothing is said about a selector


@dataclass(frozen=True)
class Effect:
    """A selector against random on one measure: the difference in percent of random's figure, below 0 is better for
    losses; `shown` after Holm over all that were tried. `worth` in random's tokens, a token of its own."""

    selector: str
    draws: int
    percent: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    shown: bool
    worth: float | None = None
    worth_low: float | None = None
    worth_high: float | None = None
    worth_reason: str | None = None
    share: float | None = None  # of what only the target's rows give
    share_low: float | None = None
    share_high: float | None = None
    others: dict[str, float] = field(default_factory=dict)  # source -> percent, the price elsewhere


class Results:
    """The finished cells of a study; `earlier` are the numbers of an earlier run of the same rows and recipe, of which
    random's losses at budgets that this run lacks are taken."""

    def __init__(self, plan: Path, files: Iterable[Path], earlier: Mapping[str, Any] | None = None) -> None:
        self.rows, self.earlier = Rows(plan), earlier or {}
        cells = [line for file in files for line in read_lines(file)]
        self.failed = [cell for cell in cells if "failed" in cell]
        by_key = {key(cell): cell for cell in cells if cell.get("H")}
        self.cells = list(by_key.values())
        self.proxies = [cell for cell in cells if cell.get("proxy") and "V" in cell]
        self.budget = int(self.rows.plan["budget"])
        h = self.rows.held_out
        self.h_tokens = (self.rows.data["lengths"][h] - np.maximum(1, self.rows.data["prompt_lengths"][h])).tolist()
        self.h_source = self.rows.data["source"][h].tolist()

    def of(self, selector: str, target: str | None = None, budget: int | None = -1) -> list[dict[str, Any]]:
        """Return the finished draws of a selector at a budget (the study's by default), by draw, the bank left out."""
        budget = self.budget if budget == -1 else budget
        mine = [
            cell
            for cell in self.cells
            if (cell["cell"], cell.get("target"), cell["budget"]) == (selector, target, budget)
            and cell["draw"] < BANK_FROM
        ]
        return sorted(mine, key=lambda cell: int(cell["draw"]))

    def runs(self, selector: str, target: str | None, rows: Sequence[int], draws: Collection[int]) -> list[MeasuredRun]:
        """Return the finished draws among `draws` as runs to compare, by the loss of `rows` of H."""
        return [
            MeasuredRun(
                f"{selector} {cell['draw']}", selector, f"{selector} {cell['draw']}", 0,
                {i: float(cell["H"][i]) for i in rows}, cell["draw"],
            )
            for cell in self.of(selector, target)
            if cell["draw"] in draws
        ]  # fmt: skip

    def selectors(self, target: str | None) -> list[str]:
        """Return the selectors with enough finished draws, in the order of the plan, random apart."""
        names = dict.fromkeys(cell["cell"] for cell in self.rows.plan["cells"] if cell.get("target") == target)
        return [name for name in names if name != RANDOM and len(self.of(name, target)) >= FEW]

    def not_run(self) -> list[str]:
        """Return the planned selectors, with their targets, that too few draws were finished of."""
        planned = dict.fromkeys(
            (cell["cell"], cell.get("target"))
            for cell in self.rows.plan["cells"]
            if cell["budget"] == self.budget and not cell.get("proxy")
        )
        few = [(name, target) for name, target in planned if len(self.of(name, target)) < FEW]
        return [name if target is None else f"{name} ({target})" for name, target in few]

    def loss(self, cell: Mapping[str, Any], source: str | None = None) -> float:
        """Return the mean loss a token on H, or on one source's part of it."""
        places = [i for i, own in enumerate(self.h_source) if source in (None, own)]
        return float(sum(cell["H"][i] for i in places) / sum(self.h_tokens[i] for i in places))

    def curve(self, source: str | None) -> dict[float, list[float]]:
        """Return random's losses by the tokens it trained on, the study's paired draws and all other budgets."""
        budgets = {cell["budget"] for cell in self.cells if cell["cell"] == RANDOM}
        own = {
            float(np.mean([cell["tokens"] for cell in mine])): [self.loss(cell, source) for cell in mine]
            for budget in sorted(budgets)
            if (mine := self.of(RANDOM, None, budget))
        }
        before = self.earlier.get("random_curve", {}).get(source or "all", {})
        lacking = {float(n): losses for n, losses in before.items() if not any(same(float(n), mine) for mine in own)}
        return dict(sorted((own | lacking).items()))

    def effects(self, target: str | None) -> list[Effect]:
        """Return every selector of a family against random: in distribution, or with one source as the target."""
        names = self.selectors(target)
        random = {cell["draw"] for cell in self.of(RANDOM)}
        by_draws: dict[frozenset[int], list[str]] = {}  # only draws that both sides have can be compared one by one
        for name in names:
            own = frozenset(cell["draw"] for cell in self.of(name, target)) & random
            if len(own) >= FEW:
                by_draws.setdefault(own, []).append(name)
        places = [i for i, own in enumerate(self.h_source) if target in (None, own)]
        pairs: list[PairedDifference] = []
        for draws, some in by_draws.items():
            runs = self.runs(RANDOM, None, places, draws)
            runs += [run for name in some for run in self.runs(name, target, places, draws)]
            compared = compare_strategies(
                runs, higher_is_better=False, weights={i: float(self.h_tokens[i]) for i in places},
                measure="eval loss", baseline=RANDOM,
            )  # fmt: skip
            pairs += compared.pairs
        order = {name: place for place, name in enumerate(names)}
        corrected = correct(pairs, higher_is_better=False)
        return [self._effect(pair, target) for pair in sorted(corrected, key=lambda pair: order[pair.second])]

    def _effect(self, pair: PairedDifference, target: str | None) -> Effect:
        random = {cell["draw"]: cell for cell in self.of(RANDOM)}
        mine = [cell for cell in self.of(pair.second, target) if cell["draw"] in random]
        beside = [random[cell["draw"]] for cell in mine]
        base = statistics.fmean(self.loss(cell, target) for cell in beside)
        tokens = float(np.mean([cell["tokens"] for cell in mine]))

        def percent(value: float | None) -> float | None:
            return None if value is None else 100 * value / base

        worth = self._worth(pair, target, base, [self.loss(cell, target) for cell in mine], tokens)
        others = {
            source: 100
            * (
                statistics.fmean(self.loss(c, source) for c in mine)
                / statistics.fmean(self.loss(c, source) for c in beside)
                - 1
            )
            for source in self.rows.plan["sources"]
            if source != target
        }
        return Effect(
            pair.second, len(mine), percent(pair.effect), percent(pair.low), percent(pair.high), pair.p_holm,
            pair.winner is not None, *worth, *self.share(pair.second, target),
            others,
        )  # fmt: skip

    def _worth(
        self, pair: PairedDifference, target: str | None, base: float, losses: Sequence[float], tokens: float
    ) -> tuple[float | None, float | None, float | None, str | None]:
        """Return (worth in random's tokens, its interval, why not).

        In distribution effects are small beside the luck of a draw, so the paired effect is divided by what a doubling
        of random's tokens gives around the budget; with a target it is read off random's curve.
        """
        if target is not None:
            worth = random_equivalent(self.curve(target), losses, tokens)
            ends = [None if end is None else end / tokens for end in (worth.low, worth.high)]
            return worth.ratio, ends[0], ends[1], worth.reason
        doubling = self.doubling()
        if doubling is None or pair.effect is None or pair.low is None or pair.high is None:
            return None, None, None, "random was not drawn at half and twice the budget"
        worths = [2 ** (-value / base / doubling) for value in (pair.effect, pair.high, pair.low)]
        return worths[0], worths[1], worths[2], None

    def doubling(self) -> float | None:
        """Return the share of the loss that twice the tokens take away around the study's budget."""
        curve = self.curve(None)
        sides = [
            next((losses for n, losses in curve.items() if same(n, size)), [])
            for size in (self.budget / 2, 2 * self.budget)
        ]
        if not all(sides):
            return None
        half, twice = map(statistics.fmean, sides)
        return (half - twice) / 2 / self._random_loss(None)

    def _random_loss(self, source: str | None) -> float:
        return statistics.fmean(self.loss(cell, source) for cell in self.of(RANDOM))

    def share(
        self, selector: str, target: str | None, first_draw: int = 0
    ) -> tuple[float | None, float | None, float | None]:
        """Return the part of the loss reduction that only the target's rows give, with its interval over draws."""
        if target is None:
            return None, None, None
        by_draw = [
            {cell["draw"]: self.loss(cell, target) for cell in self.of(name, own) if cell["draw"] >= first_draw}
            for name, own in ((RANDOM, None), (selector, target), (ONLY, target))
        ]
        shared = sorted(set.intersection(*map(set, by_draw)))
        if len(shared) < FEW:
            return None, None, None
        random, mine, only = ([of[draw] for draw in shared] for of in by_draw)
        ratio = ratio_with_interval(
            [r - m for r, m in zip(random, mine, strict=True)], [r - o for r, o in zip(random, only, strict=True)]
        )
        return ratio.value, ratio.low, ratio.high

    def best_of(self, selector: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
        """Return what the best of n draws by the loss on V gives on H, in percent of the mean of all, on average."""
        bank = [c for c in self.cells if c["cell"] == selector and c["budget"] == self.budget and "target" not in c]
        if len(bank) < 2 * FEW:
            return []
        v, h = np.array([cell["steered"] for cell in bank]), np.array([self.loss(cell) for cell in bank])
        rng = np.random.default_rng(0)
        gains = []
        for n in [size for size in sizes if size <= len(bank)]:
            taken = [rng.choice(len(bank), n, replace=False) for _ in range(2000)]
            best = float(np.mean([h[some[np.argmin(v[some])]] for some in taken]))
            gains.append({"best_of": n, "percent": 100 * (best / float(h.mean()) - 1), "bank": len(bank)})
        return gains

    def chosen(self) -> dict[str, str]:
        """Return which selector was chosen, on V, for each that was to be chosen."""
        return {cell["cell"]: cell["chosen"] for cell in self.cells if "chosen" in cell}

    def other_sizes(self) -> list[dict[str, Any]]:
        """Return the selectors at other budgets against random's draws there, the draws that both have."""
        lines = []
        planned = {(c["cell"], c.get("target"), c["budget"]) for c in self.cells if c["cell"] != RANDOM}
        for selector, target, budget in sorted(planned, key=str):
            if budget in (None, self.budget):
                continue
            random = {cell["draw"]: cell for cell in self.of(RANDOM, None, budget)}
            mine = [cell for cell in self.of(selector, target, budget) if cell["draw"] in random]
            if not mine:
                continue
            losses = [self.loss(cell, target) for cell in mine]
            ratios = [x / self.loss(random[cell["draw"]], target) for x, cell in zip(losses, mine, strict=True)]
            lines.append(
                {
                    "selector": selector, "target": target, "budget": budget, "draws": len(mine),
                    "percent": 100 * (statistics.fmean(ratios) - 1),
                    "worth": random_equivalent(self.curve(target), losses, float(budget)).ratio,
                }
            )  # fmt: skip
        return lines

    def beside_random(self) -> dict[str, list[float]]:
        """Return what every selector without a target gives, in percent of random's loss, by its draws."""
        random = {cell["draw"]: self.loss(cell) for cell in self.of(RANDOM)}
        names = dict.fromkeys(c["cell"] for c in self.cells if "target" not in c and c["cell"] != RANDOM)
        found = {
            name: [100 * (self.loss(c) / random[c["draw"]] - 1) for c in self.of(name) if c["draw"] in random]
            for name in names
        }
        return {name: percents for name, percents in found.items() if percents}

    def by_target(self) -> dict[str, dict[str, Any]]:
        """Return what a target gives, by source: percent of random's loss for `target-words` and for only that source,
        over the draws that have all three."""
        found = {}
        for source in self.rows.plan["sources"]:
            of = [
                {cell["draw"]: self.loss(cell, source) for cell in self.of(name, target)}
                for name, target in ((RANDOM, None), (WORDS, source), (ONLY, source))
            ]
            draws = sorted(set.intersection(*map(set, of)))
            if draws:
                words, only = ([100 * (own[d] / of[0][d] - 1) for d in draws] for own in of[1:])
                found[source] = {"draws": len(draws), WORDS: words, ONLY: only}
        return found


def kept_lines(results: Results) -> bytes:
    """Return the finished cells and proxy runs as gzipped JSON lines, the same bytes for the same cells: all that the
    statistics need, without the rows that were picked."""
    lines = [
        {name: value for name, value in cell.items() if name not in ("rows", "V_rows", "seconds", "train_seconds")}
        for cell in sorted([*results.cells, *results.proxies], key=key)
    ]
    for cell in lines:
        cell["H"] = [round(loss, 2) for loss in cell["H"]] if "H" in cell else []
    return gzip.compress("".join(json.dumps(cell) + "\n" for cell in lines).encode(), mtime=0)


def same(tokens: float, budget: float) -> bool:
    """Return whether a selection of so many tokens is one of that budget: rows are whole, so a few may be missing."""
    return abs(tokens / budget - 1) < 0.01
