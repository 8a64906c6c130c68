"""The table that names the strategies: one line each. It loads no strategy, so that help is fast."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from curate.errors import UsageError, did_you_mean
from curate.extensions import Table

if TYPE_CHECKING:
    from curate.strategies.types import Picks, Select


@dataclass(frozen=True)
class Option:
    """An option of a strategy: default, smallest and largest allowed value; its type is the default's."""

    default: float | int
    least: float
    most: float
    help: str


@dataclass(frozen=True)
class Strategy:
    """One line of the table: `load` returns the function that picks, and imports its file only when it is called.

    Another package adds one with an entry point of the group `rowpick.strategies`. `by_parts` is set where it picks
    from parts first in pools beyond 500,000 candidates (`curate.strategies.parts`), and says how far off that may be.
    """

    load: Callable[[], Callable[..., Picks]]
    help: str
    source: str
    needs: frozenset[str] = frozenset()
    options: Mapping[str, Option] = field(default_factory=dict)
    by_parts: str | None = None

    @property
    def takes_target(self) -> bool:
        """Whether it picks rows like those of --target: by their vectors or by their words."""
        return bool(self.needs & {"target", "target_words"})

    def bind(self, options: Mapping[str, Any]) -> Select:
        """The strategy with its options filled in: (candidates, k, rng) -> Picks."""
        filled = {name: option.default for name, option in self.options.items()} | dict(options)
        return partial(self.load(), **filled)


def _from(module: str) -> Callable[[], Callable[..., Picks]]:
    def load() -> Callable[..., Picks]:
        found: Callable[..., Picks] = importlib.import_module(f"curate.strategies.{module}").select
        return found

    return load


COVER_OPTIONS = {
    "evaluated": Option(16_384, 1, 10_000_000, "rows that greedy values picks on in a larger pool"),
    "rounds": Option(2, 0, 100, "times each pick is moved to the best row of those nearest to it"),
}


_OWN: dict[str, Strategy] = {
    "random": Strategy(
        _from("uniform"), "uniformly at random: the bar for all others (the default)", "Fisher and Yates, 1938"
    ),
    "length-matched": Strategy(
        _from("length_matched"), "at random, with the pool's length profile", "proportional allocation: Cochran, 1977"
    ),
    "first": Strategy(_from("first"), "the first k rows in the order of the pool", "plain head of the file"),
    "shortest": Strategy(
        _from("shortest"), "the k shortest instructions by characters", "the notebook this project grew out of"
    ),
    "longest": Strategy(_from("longest"), "the k longest outputs by characters", "arXiv 2402.04833"),
    "kmeans": Strategy(
        _from("kmeans"),
        "every cluster an equal share, at random inside it",
        "equal allocation: Cochran, 1977",
        frozenset({"clusters"}),
    ),
    "kmeans-centroid": Strategy(
        _from("kmeans_centroid"),
        "every cluster an equal share, nearest to its centre first",
        "prototypes: arXiv 2206.14486",
        frozenset({"clusters"}),
    ),
    "kcenter": Strategy(
        _from("kcenter"),
        "farthest first: no row far from every pick",
        "Gonzalez, 1985; arXiv 1708.00489",
        frozenset({"embeddings"}),
        by_parts="a row is at most four times as far from its pick as it must be (Malkomes et al., 2015), not twice",
    ),
    "facility-location": Strategy(
        _from("facility_location"),
        "the picks that all rows are nearest to, with a proven bound",
        "Nemhauser, Wolsey and Fisher, 1978",
        frozenset({"embeddings"}),
        COVER_OPTIONS,
    ),
    "mmr": Strategy(
        _from("mmr"),
        "near the pool's mean, unlike what is picked",
        "Carbonell and Goldstein, 1998",
        frozenset({"embeddings"}),
        {"relevance": Option(0.5, 0.0, 1.0, "weight of nearness to the mean; the rest weighs unlikeness")},
        by_parts="no bound on what that loses is known",
    ),
    "dpp": Strategy(
        _from("dpp"),
        "jointly most unlike each other",
        "greedy MAP of a determinantal point process: arXiv 1709.05135",
        frozenset({"embeddings"}),
        {"bandwidth": Option(0.5, 0.01, 100.0, "width of the kernel exp(-(1 - cosine) / bandwidth^2)")},
        by_parts="no bound on what that loses is known while a pick can lower the determinant",
    ),
    "density": Strategy(
        _from("density"),
        "every cluster its share, dense regions thinned",
        "arXiv 2407.05040",
        frozenset({"clusters"}),
    ),
    "semdedup": Strategy(
        _from("semdedup"),
        "what is left when alike rows of a cluster are dropped until k remain",
        "arXiv 2303.09540",
        frozenset({"clusters"}),
    ),
    "learned-centroids": Strategy(
        _from("learned_centroids"),
        "the rows nearest to k points learned to cover the pool and keep apart",
        "arXiv 2507.02378",
        frozenset({"embeddings"}),
        {"steps": Option(300, 0, 100_000, "steps of learning")},
    ),
    "ifd": Strategy(
        _from("ifd"),
        "largest instruction-following difficulty below 1",
        "Superfiltering: arXiv 2402.00530",
        frozenset({"scores"}),
    ),
    "perplexity": Strategy(
        _from("perplexity"),
        "least likely answers to a small model",
        "a baseline of arXiv 2402.00530",
        frozenset({"scores"}),
    ),
    "ifd-facility": Strategy(
        _from("ifd_facility"),
        "facility-location among the most difficult rows",
        "Superfiltering with diversity: arXiv 2402.00530",
        frozenset({"embeddings", "scores"}),
        {"share": Option(0.2, 0.0, 1.0, "part of the pool, by difficulty, that is chosen from"), **COVER_OPTIONS},
    ),
    "kmeans-ifd": Strategy(
        _from("kmeans_ifd"),
        "the most difficult rows of every cluster, the same part of each",
        "arXiv 2504.12687",
        frozenset({"clusters", "scores"}),
    ),
    "deita": Strategy(
        _from("deita"),
        "by difficulty, leaving out what is like a pick",
        "arXiv 2312.15685",
        frozenset({"embeddings", "scores"}),
        {"threshold": Option(0.9, 0.0, 1.0, "cosine from which a row is too like a pick")},
        by_parts="no bound on what that loses is known",
    ),
    "rds": Strategy(
        _from("rds"),
        "near the rows of --target, each target row in turn",
        "round robin of RDS+: arXiv 2503.01807",
        frozenset({"embeddings", "target"}),
    ),
    "target-classifier": Strategy(
        _from("target_classifier"),
        "what a linear classifier takes for a row of --target",
        "Brown et al., 2020, appendix A: arXiv 2005.14165",
        frozenset({"embeddings", "target"}),
    ),
    "target-words": Strategy(
        _from("target_words"),
        "what a linear classifier over words takes for a row of --target (the default with --target)",
        "hashed n-grams: arXiv 2302.03169",
        frozenset({"target_words"}),
        {"rounds": Option(0, 0, 10, "times the classifier is fitted again, its best rows counted as target rows")},
    ),
    "target-importance": Strategy(
        _from("target_importance"),
        "at random, rows with the words of --target more often",
        "DSIR: arXiv 2302.03169",
        frozenset({"target_words"}),
        {"sharpness": Option(1.0, 0.0, 20.0, "power of the odds that weigh a row")},
    ),
    "short-rows": Strategy(
        _from("short_rows"),
        "at random, short rows more often",
        "weights tokens^-power",
        frozenset(),
        {"power": Option(0.5, 0.0, 4.0, "weights are tokens to the minus this")},
    ),
    "well-formed": Strategy(
        _from("well_formed"),
        "at random, short instructions with answers that parse, are finished and have nothing behind more often",
        "plain features, as in SCAR: arXiv 2406.10882",
        frozenset({"well_formed"}),
        {
            "sharpness": Option(8.0, 0.0, 40.0, "how much more often a well-formed row is drawn"),
            "power": Option(0.5, 0.0, 4.0, "short instructions more often: weights characters to the minus this"),
        },
    ),
    "short-part": Strategy(
        _from("short_part"),
        "a part of the tokens for the shortest well-formed rows, the rest at random",
        "shortest and random, mixed",
        frozenset({"well_formed"}),
        {"part": Option(0.2, 0.0, 1.0, "part of the tokens that goes to the shortest")},
    ),
    "influence": Strategy(
        _from("influence"),
        "what moves a small model most towards --target, as `finetune influence` scored it",
        "TracIn: arXiv 2002.08484; LESS: arXiv 2402.04333",
        frozenset({"influence"}),
        {"sharpness": Option(0.0, 0.0, 20.0, "0 takes the top rows; above 0 rows are drawn, these more often")},
    ),
    "influence-classifier": Strategy(
        _from("influence_classifier"),
        "high in influence on --target and in its words, ranks added",
        "TracIn and DSIR together: arXiv 2002.08484, 2302.03169",
        frozenset({"influence", "target_words"}),
    ),
    "mixture": Strategy(
        _from("mixture"),
        "at random, by weights of rows or shares of strata that `evalsuite mixture` fitted",
        "RegMix, datamodels: arXiv 2407.01492, 2202.00622",
        frozenset({"mixture"}),
    ),
    "best-of-draws": Strategy(
        _from("best_of_draws"),
        "the best of many draws that `evalsuite best-of-draws` trained",
        "best of n",
        frozenset({"draws"}),
    ),
}
STRATEGIES = Table("rowpick.strategies", Strategy, _OWN)


def parse_options(strategies: Sequence[str], given: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Checked options of each of `strategies` by its name, from `name=value` pairs, each for all of them that take it.

    An option that none of them takes is a `UsageError` that says whose it is.
    """
    parsed: dict[str, dict[str, float | int]] = {strategy: {} for strategy in strategies}
    for pair in given:
        name, _, text = pair.partition("=")
        takers = [strategy for strategy in strategies if name in STRATEGIES[strategy].options]
        if not takers:
            only = f'Strategy {strategies[0]} takes no option "{pair}".'
            several = f'None of {", ".join(strategies)} takes the option "{pair}".'
            raise UsageError(only if len(strategies) == 1 else several, _whose_option(name, strategies))
        for strategy in takers:
            parsed[strategy][name] = _checked(name, text, STRATEGIES[strategy].options[name])
    return parsed


def _whose_option(name: str, strategies: Sequence[str]) -> str:
    owners = [strategy for strategy, entry in STRATEGIES.items() if name in entry.options]
    if owners:
        return f"{name} belongs to {', '.join(owners)}."
    options = {option for strategy in strategies for option in STRATEGIES[strategy].options}
    return did_you_mean(name, options) if options else "There is none."


def _checked(name: str, text: str, option: Option) -> float | int:
    try:
        value = type(option.default)(text)
    except ValueError:
        raise UsageError(f"{name}={text} is not a number.", f"Example: {name}={option.default}") from None
    if not option.least <= value <= option.most:
        raise UsageError(f"{name}={text} is out of range.", f"Allowed: {option.least} to {option.most}.")
    return value


def listed_strategies() -> dict[str, Any]:
    """Every strategy with its help, needs, options and source, as plain JSON."""
    return {
        name: {
            "help": entry.help,
            "needs": sorted(entry.needs),
            "source": entry.source,
            "options": {o: {"default": option.default, "help": option.help} for o, option in entry.options.items()},
        }
        for name, entry in STRATEGIES.items()
    }


def strategy_lines() -> list[str]:
    """Our own strategies as lines for a terminal, their options below them."""
    lines = []
    for name, entry in STRATEGIES.own.items():
        needs = f" [needs {', '.join(sorted(entry.needs))}]" if entry.needs else ""
        lines.append(f"{name:<20} {entry.help}{needs} ({entry.source})")
        for option_name, option in entry.options.items():
            lines.append(f"{'':<20}   {option_name}={option.default}  {option.help}")
    return lines
