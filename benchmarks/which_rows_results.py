"""The statistics of the study "which rows?", by the project's own code: paired by draw, corrected by Holm.

From the JSON lines of `which_rows.py` and the plan: effects on the loss against random, worth in random's tokens, the
share of what only the target's own rows give, well-formed answers. Nothing here is made up: what was not run is absent.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_picks import Rows
from evaluate_suite.generation.raw_prompts import RawPrompt
from evaluate_suite.generation.record import END_TOKEN, MAX_NEW_TOKENS, Generation
from evaluate_suite.metrics.well_formed_answer import score as well_formed_score
from evaluate_suite.statistics.equivalents import random_equivalent
from evaluate_suite.statistics.levels import MeasuredRun, compare_strategies
from evaluate_suite.statistics.pairs import ratio_with_interval

RANDOM, ONLY = "random", "only that source"
FEW = 3  # draws below which nothing is said about a selector
BANK_FROM = 100  # draws from here on are the bank of best-of-draws


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
    """The finished cells of a study."""

    def __init__(self, plan: Path, files: Iterable[Path]) -> None:
        self.rows = Rows(plan)
        cells = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
        self.failed = [cell for cell in cells if "failed" in cell]
        by_key = {key(cell): cell for cell in cells if "H" in cell}
        self.cells = list(by_key.values())
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

    def selectors(self, target: str | None) -> list[str]:
        """Return the selectors with enough finished draws, in the order of the plan, random apart."""
        names = dict.fromkeys(cell["cell"] for cell in self.rows.plan["cells"] if cell.get("target") == target)
        return [name for name in names if name != RANDOM and len(self.of(name, target)) >= FEW]

    def not_run(self) -> list[str]:
        """Return the planned selectors, with their targets, that too few draws were finished of."""
        planned = dict.fromkeys(
            (cell["cell"], cell.get("target")) for cell in self.rows.plan["cells"] if cell["budget"] == self.budget
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
        return {
            float(np.mean([cell["tokens"] for cell in mine])): [self.loss(cell, source) for cell in mine]
            for budget in sorted(budgets)
            if (mine := self.of(RANDOM, None, budget))
        }

    def effects(self, target: str | None) -> list[Effect]:
        """Return every selector of a family against random: in distribution, or with one source as the target."""
        names = self.selectors(target)
        random = self.of(RANDOM)
        if len(random) < FEW or not names:
            return []
        places = [i for i, own in enumerate(self.h_source) if target in (None, own)]
        runs = [
            MeasuredRun(
                f"{name} {cell['draw']}", name, f"{name} {cell['draw']}", 0,
                {i: float(cell["H"][i]) for i in places}, cell["draw"],
            )
            for name in (RANDOM, *names)
            for cell in self.of(name, None if name == RANDOM else target)
        ]  # fmt: skip
        compared = compare_strategies(
            runs, higher_is_better=False, weights={i: float(self.h_tokens[i]) for i in places}, measure="eval loss",
            baseline=RANDOM,
        )  # fmt: skip
        base = statistics.fmean(self.loss(cell, target) for cell in random)
        return [self._effect(pair, base, target) for pair in compared.pairs]

    def _effect(self, pair: Any, base: float, target: str | None) -> Effect:
        mine = self.of(pair.second, target)
        losses = [self.loss(cell, target) for cell in mine]
        worth = random_equivalent(self.curve(target), losses, float(np.mean([cell["tokens"] for cell in mine])))
        tokens = float(np.mean([cell["tokens"] for cell in mine]))

        def percent(value: float | None) -> float | None:
            return None if value is None else 100 * value / base

        share = self._share(pair.second, target)
        others = {
            source: 100 * (statistics.fmean(self.loss(c, source) for c in mine) / self._random_loss(source) - 1)
            for source in self.rows.plan["sources"]
            if source != target
        }
        return Effect(
            pair.second, len(mine), percent(pair.effect), percent(pair.low), percent(pair.high), pair.p_holm,
            pair.winner is not None, worth.ratio, None if worth.low is None else worth.low / tokens,
            None if worth.high is None else worth.high / tokens, worth.reason, *share, others,
        )  # fmt: skip

    def _random_loss(self, source: str | None) -> float:
        return statistics.fmean(self.loss(cell, source) for cell in self.of(RANDOM))

    def _share(self, selector: str, target: str | None) -> tuple[float | None, float | None, float | None]:
        """Return the part of the loss reduction that only the target's rows give, with its interval over draws."""
        if target is None:
            return None, None, None
        by_draw = [
            {cell["draw"]: self.loss(cell, target) for cell in self.of(name, own)}
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

    def best_of_draws(self, sizes: Sequence[int] = (4, 8, 16, 32)) -> list[dict[str, Any]]:
        """Return what taking the best of n uniform draws by the loss on V gives on H, in percent, on average."""
        bank = [c for c in self.cells if c["cell"] == RANDOM and c["budget"] == self.budget]
        if len(bank) < 2 * FEW:
            return []
        v, h = np.array([cell["V"] for cell in bank]), np.array([self.loss(cell) for cell in bank])
        rng = np.random.default_rng(0)
        gains = []
        for n in [size for size in sizes if size <= len(bank)]:
            taken = [rng.choice(len(bank), n, replace=False) for _ in range(2000)]
            best = float(np.mean([h[some[np.argmin(v[some])]] for some in taken]))
            gains.append({"best_of": n, "percent": 100 * (best / float(h.mean()) - 1), "bank": len(bank)})
        return gains

    def other_sizes(self) -> list[dict[str, Any]]:
        """Return target-words at other budgets against random there, by interpolating random's curve in log tokens."""
        made = []
        for source in self.rows.plan["sources"]:
            curve = self.curve(source)
            x = np.log(sorted(curve))
            y = [statistics.fmean(curve[tokens]) for tokens in sorted(curve)]
            made_here = [c for c in self.cells if (c["cell"], c.get("target")) == ("target-words", source)]
            for budget in sorted({c["budget"] for c in made_here} - {self.budget}):
                mine = self.of("target-words", source, budget)
                losses = [self.loss(cell, source) for cell in mine]
                at = float(np.interp(np.log(budget), x, y))
                worth = random_equivalent(curve, losses, float(budget))
                percent = 100 * (statistics.fmean(losses) / at - 1)
                made.append(
                    {"target": source, "budget": budget, "draws": len(mine), "percent": percent, "worth": worth.ratio}
                )
        return made


def key(cell: Mapping[str, Any]) -> str:
    """Return what names a cell."""
    return json.dumps([cell.get("cell"), cell.get("draw"), cell.get("budget"), cell.get("target")])


def answer_scores(
    files: Iterable[Path], prompts: Sequence[RawPrompt], decode: Callable[[str, list[int]], str]
) -> dict[str, dict[str, float]]:
    """Return by cell, then by prompt, whether the answer is well-formed (0 or 1); `decode` takes (prompt, new ids)."""
    known = {prompt.prompt_id: prompt for prompt in prompts}
    scores: dict[str, dict[str, float]] = {}
    for line in (line for file in files for line in file.read_text(encoding="utf-8").splitlines()):
        record = json.loads(line)
        own = scores.setdefault(record["key"], {})
        for prompt_id, (ids, ended) in record["answers"].items():
            prompt = known[prompt_id]
            generation = Generation(
                prompt_id, prompt.prompt, decode(prompt.prompt, ids), len(ids) + ended,
                END_TOKEN if ended else MAX_NEW_TOKENS, language=prompt.language,
            )  # fmt: skip
            value = well_formed_score(generation).value
            if value is not None:
                own[prompt_id] = float(value)
    return scores


def well_formed_effects(results: Results, scores: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Return every selector's share of well-formed answers and its difference to random, paired by draw."""
    runs = []
    for cell in results.cells:
        own = scores.get(key(cell))
        if own and cell["budget"] == results.budget and "target" not in cell:
            name = cell["cell"]
            values = dict[Any, float](own)
            runs.append(MeasuredRun(key(cell), name, f"{name} {cell['draw']}", 0, values, cell["draw"]))
    if len({run.strategy for run in runs}) < 2 or all(run.strategy != RANDOM for run in runs):
        return {}
    compared = compare_strategies(
        runs, higher_is_better=True, measure="well-formed answer", baseline=RANDOM, bounds=(0.0, 1.0)
    )
    pairs = {pair.second: pair for pair in compared.pairs}
    return {
        name: {"share": asdict(estimate), "to_random": None if name == RANDOM else asdict(pairs[name])}
        for name, estimate in compared.estimates.items()
    }
