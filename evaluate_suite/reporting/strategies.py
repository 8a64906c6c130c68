"""The strategies behind a report's runs: which runs belong together, how they compare, their worth in random tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.artifact import digest_json, finished, read_manifest
from curate.page import format_count
from curate.selection.record import KIND, Selection, selections_dir
from evaluate_suite.reporting.eval_loss import token_mean
from evaluate_suite.reporting.measures import Measure
from evaluate_suite.reporting.work import Evaluation
from evaluate_suite.statistics.equivalents import RandomEquivalent, random_equivalent
from evaluate_suite.statistics.levels import LevelledComparison, MeasuredRun, compare_strategies

RANDOM = "random"
# What of a selection's manifest says among which rows it picked; the seed makes a draw of it.
POOL = (
    "pool_digest", "turns", "encoder", "embed", "vectors", "min_tokens", "max_tokens", "near_duplicate", "clean",
    "decontaminate", "clusters", "coordinated",
)  # fmt: skip
STEERED = ("target", "influence", "mixture", "draws", "score_model", "keep")  # by rows or scores kept elsewhere
NARROWED = ("keep", "pick_where", "cap")  # what leaves random no longer uniform among all candidates
# What says how it picked: all that a curve of random selections and what is read off it may differ in.
PICKS = ("strategy", "strategy_options", "k", "token_budget", *STEERED, "pick_where", "cap", "target_digest")
SHORT = {"k": "k", "token_budget": "t"}
UNSEEN = {"strategy", "target_digest"}  # the name says the first; the second tells targets of one name apart


@dataclass(frozen=True)
class StrategyGroups:
    """Every run's group by name: runs that differ in nothing but the draw of the selection and the training seed.

    `draws` is each run's selection by content; `fixed` are the groups in which every seed drew the same selection;
    groups of one `family` differ in nothing but how they picked and how many;
    `random` are those drawn uniformly among all candidates.
    """

    group: dict[str, str]
    draws: dict[str, str]
    fixed: set[str]
    n_rows: dict[str, int]
    n_tokens: dict[str, int]
    random: set[str]
    family: dict[str, str]


def group_runs(evaluations: Sequence[Evaluation]) -> StrategyGroups:
    """The groups of a report's runs, each named by its strategy and whatever else differs between groups."""
    recipes = {e.name: _recipe(e) for e in evaluations}
    group = _named(recipes)
    draws = {e.name: e.selection.digest for e in evaluations}
    seeds: dict[str, set[Any]] = {}
    digests: dict[str, set[str]] = {}
    tried = _seeds_tried(evaluations)
    for e in evaluations:
        seeds.setdefault(group[e.name], set()).update(tried[e.selection.digest])
        digests.setdefault(group[e.name], set()).add(e.selection.digest)
    return StrategyGroups(
        group,
        draws,
        {name for name in seeds if len(seeds[name]) > 1 and len(digests[name]) == 1},
        {group[e.name]: len(e.selection.selected) for e in evaluations},
        {e.selection.digest: int(e.run.manifest.config["tokens_seen"]) for e in evaluations},
        {
            group[name]
            for name, recipe in recipes.items()
            if recipe["strategy"] == RANDOM and not any(map(recipe.get, NARROWED))
        },
        {
            group[name]: str({key: value for key, value in recipe.items() if key not in PICKS})
            for name, recipe in recipes.items()
        },
    )


def _recipe(evaluation: Evaluation) -> dict[str, Any]:
    config = evaluation.run.config.model_dump(mode="json")
    return _asked(evaluation.selection) | {name: value for name, value in config.items() if name != "seed"}


def _asked(selection: Selection) -> dict[str, Any]:
    """What of a selection says how its rows were asked for; None for what was not, however old the selection is."""
    asked = {name: selection.manifest.config.get(name) or None for name in (*PICKS, *POOL)}
    if asked["token_budget"] is not None:
        asked["k"] = None
    if asked["target_digest"] is not None:
        asked["target"] = Path(str(asked["target"])).name  # wherever it lay
    return asked


def _named(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A name for the group of every run: what differs between groups, in words; two groups never share one."""
    varied = [
        name
        for name in dict.fromkeys(key for recipe in recipes.values() for key in recipe)
        if name not in UNSEEN and len({str(recipe.get(name)) for recipe in recipes.values()}) > 1
    ]
    digests = {name: digest_json(recipe) for name, recipe in recipes.items()}
    labels = {digests[name]: _label(recipe, varied) for name, recipe in recipes.items()}
    shared = {label for label, n in Counter(labels.values()).items() if n > 1}
    labels |= {digest: f"{label} ({digest[:6]})" for digest, label in labels.items() if label in shared}
    return {name: labels[digest] for name, digest in digests.items()}


def _label(recipe: Mapping[str, Any], varied: Sequence[str]) -> str:
    words = [str(recipe["strategy"])]
    for name in varied:
        value = recipe.get(name)
        if value in (None, {}):
            continue
        if name in SHORT:
            words.append(f"{SHORT[name]}{value}")
        elif name == "strategy_options":
            words += [f"{option}={number}" for option, number in value.items()]
        elif name == "pick_where":
            words += value
        elif name == "cap":
            words += [f"cap {cap}" for cap in value]
        elif name in STEERED:
            words.append(f"{name}={Path(value).name}")
        else:
            words.append(f"{name}={str(value)[:12]}")
    return " ".join(words)


def _seeds_tried(evaluations: Sequence[Evaluation]) -> dict[str, set[Any]]:
    """By digest, the seeds that drew this selection: the run's own, and those of finished selections beside it."""
    tried = {e.selection.digest: {e.selection.manifest.seed} for e in evaluations}
    asked = {e.selection.digest: _asked(e.selection) for e in evaluations}
    for folder in finished(selections_dir(), KIND):
        other = Selection(folder, read_manifest(folder, KIND), [], [])
        if other.digest in tried and _asked(other) == asked[other.digest]:
            tried[other.digest].add(other.manifest.seed)
    return tried


def compare_groups(
    evaluations: Sequence[Evaluation],
    groups: StrategyGroups,
    measures: Sequence[Measure],
    baseline: str | None = None,
) -> dict[str, LevelledComparison]:
    """Every group against every other, or against `baseline`, by measure; empty with fewer than two groups, or none of
    two runs."""
    names = set(groups.group.values())
    if len(names) < 2 or len(names) == len(evaluations):
        return {}
    return {
        measure.name: compare_strategies(
            [
                MeasuredRun(
                    e.name,
                    groups.group[e.name],
                    groups.draws[e.name],
                    e.run.manifest.seed,
                    measure.values[e.name],
                    e.selection.manifest.seed if e.selection.manifest.config.get("coordinated") else None,
                )
                for e in evaluations
            ],
            higher_is_better=measure.higher_is_better,
            weights=measure.weights,
            fixed=groups.fixed,
            bounds=measure.bounds,
            measure=measure.name,
            baseline=baseline,
        )
        for measure in measures
    }


def random_equivalents(evaluations: Sequence[Evaluation], groups: StrategyGroups) -> dict[str, RandomEquivalent]:
    """Every group but the random ones, with the random tokens that reach its eval loss; empty without random runs.

    The curve is that of the random groups of the same family, by the tokens they trained on, on average.
    """
    scores: dict[str, dict[str, list[float]]] = {}
    for e in evaluations:
        loss = token_mean(e.tuned_losses)
        if loss is not None:
            scores.setdefault(groups.group[e.name], {}).setdefault(groups.draws[e.name], []).append(loss)
    by_draw = {
        name: [sum(losses) / len(losses) for losses in draws.values()] for name, draws in scores.items() if draws
    }
    tokens = {name: _mean_tokens(draws, groups.n_tokens) for name, draws in scores.items()}
    random_groups = [name for name in scores if name in groups.random]
    if not random_groups:
        return {}
    worth = {}
    for name in (name for name in scores if name not in random_groups):
        alike = [other for other in random_groups if groups.family[other] == groups.family[name]]
        worth[name] = random_equivalent({tokens[other]: by_draw[other] for other in alike}, by_draw[name], tokens[name])
    return worth


def _mean_tokens(draws: Collection[str], n_tokens: Mapping[str, int]) -> float:
    return sum(n_tokens[draw] for draw in draws) / len(draws)


def equivalent_sentence(name: str, worth: RandomEquivalent) -> str:
    """Return one group's worth in random tokens as a sentence."""
    if worth.tokens is None:
        return f"The worth of {name} in random tokens is not known: {worth.reason}."
    low = "fewer than were tried" if worth.low is None else format_count(round(worth.low))
    high = "more than were tried" if worth.high is None else format_count(round(worth.high))
    between = f" (95% interval {low} to {high})" if worth.reason is None else f" ({worth.reason})"
    times = "" if worth.ratio is None else f", {worth.ratio:.2f} times its own"
    return f"{name} reaches what {format_count(round(worth.tokens))} random tokens reach{times}{between}."
