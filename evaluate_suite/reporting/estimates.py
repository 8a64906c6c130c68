"""The statistics of a report: estimates, verdicts, every pair, and the answer in two computed sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from curate.page import format_p
from evaluate_suite.reporting.eval_loss import RowEval
from evaluate_suite.reporting.measures import EVAL_LOSS, Measure
from evaluate_suite.reporting.parts import Part
from evaluate_suite.reporting.record import (
    BASE,
    RunResult,
    StrategyMetric,
    StrategyResult,
)
from evaluate_suite.reporting.strategies import compare_groups, equivalent_sentence, group_runs, random_equivalents
from evaluate_suite.reporting.work import Evaluation
from evaluate_suite.statistics.bounded import within_bounds
from evaluate_suite.statistics.levels import DRAWS, SCOPES, SEEDS
from evaluate_suite.statistics.pairs import compare_runs, paired_gain, ratio_with_interval
from evaluate_suite.statistics.types import MODELS, Estimate, PairedDifference
from evaluate_suite.training_curve.readers import points_of
from evaluate_suite.training_curve.types import HistoryPoint


def loss_points(lines: Sequence[Mapping[str, Any]]) -> list[HistoryPoint]:
    """Return the lines of a run's history for charts; a loss that is no finite number is None there."""
    return [HistoryPoint(int(p.step), _finite(p.train_loss), _finite(p.eval_loss)) for p in points_of(lines)]


def _finite(loss: float | None) -> float | None:
    return loss if loss is not None and math.isfinite(loss) else None


def loss_estimate(rows: Sequence[RowEval]) -> Estimate:
    """Eval loss a token with its interval over rows."""
    return ratio_with_interval([row.nll for row in rows], [row.tokens for row in rows])


def gain_estimate(base: Sequence[RowEval], tuned: Sequence[RowEval]) -> Estimate:
    """Base minus tuned eval loss a token, paired by row: above 0, training helped."""
    tokens = [row.tokens for row in base]
    return paired_gain([row.nll for row in base], [row.nll for row in tuned], tokens)


def model_pairs(measures: Sequence[Measure]) -> list[PairedDifference]:
    """Every pair of models on the headline measures, and base against each run on the others.

    p values are corrected over the pairs of one measure.
    """
    return [
        within_bounds(pair, measure.bounds)
        for measure in measures
        if measure.headline or BASE in measure.values
        for pair in compare_runs(
            measure.values,
            higher_is_better=measure.higher_is_better,
            weights=measure.weights,
            measure=measure.name,
            baseline=None if measure.headline else BASE,
        )
    ]


def strategy_results(
    evaluations: Sequence[Evaluation], measures: Sequence[Measure]
) -> tuple[list[StrategyResult], list[PairedDifference], list[str]]:
    """The strategies behind the runs, every pair of them on every measure, and what a reader must know; empty for one.

    `measures` begin with the eval loss. p values are corrected over the pairs of one measure, as those of runs are.
    """
    groups = group_runs(evaluations)
    worth = random_equivalents(evaluations, groups)
    notes = [equivalent_sentence(name, equivalent) for name, equivalent in worth.items()]
    by_measure = compare_groups(evaluations, groups, measures)
    if not by_measure:
        return [], [], notes
    compared = by_measure[EVAL_LOSS]

    def metric(measure: Measure, name: str) -> StrategyMetric:
        levels = by_measure[measure.name]
        estimate, spread = levels.estimates[name], levels.spread[name]
        unscored = measure.n_items - estimate.n
        return StrategyMetric(
            estimate=replace(estimate, unscored=unscored), draw_spread=spread[DRAWS], seed_spread=spread[SEEDS]
        )

    results = [
        StrategyResult(
            name=name,
            runs=[run for run, group in groups.group.items() if group == name],
            n_draws=compared.n_draws[name],
            n_seeds=compared.n_seeds[name],
            loss=estimate,
            draw_spread=compared.spread[name][DRAWS],
            seed_spread=compared.spread[name][SEEDS],
            scope=compared.scope,
            random_equivalent=worth.get(name),
            metrics={measure.name: metric(measure, name) for measure in measures if measure.name != EVAL_LOSS},
        )
        for name, estimate in compared.estimates.items()
    ]
    pairs = [within_bounds(pair, measure.bounds) for measure in measures for pair in by_measure[measure.name].pairs]
    return results, pairs, [*compared.notes, *notes]


def worth_on(part: Part, evaluations: Sequence[Evaluation]) -> list[str]:
    """What every strategy is worth in random tokens on a part of the holdout, a sentence each."""
    worth = random_equivalents(part.evaluations(evaluations), group_runs(evaluations))
    return [equivalent_sentence(name, equivalent) for name, equivalent in worth.items()]


def answer(
    runs: Sequence[RunResult],
    pairs: Sequence[PairedDifference],
    base_model: str,
    strategies: Sequence[StrategyResult] = (),
) -> tuple[str, str, str | None]:
    """(what was found, how sure that is, the winning run or None), from the eval losses alone.

    Where every strategy was drawn several times the answer is about the strategies; then no run is the winner.
    """
    losses = [pair for pair in pairs if (pair.measure, pair.scope) == (EVAL_LOSS, MODELS)]
    if len(runs) == 1:
        return (*_single(runs[0], losses, base_model), None)
    if strategies and strategies[0].scope == SCOPES[DRAWS]:
        between = [pair for pair in pairs if (pair.measure, pair.scope) == (EVAL_LOSS, SCOPES[DRAWS])]
        return (*_about_strategies(strategies, between), None)
    between = [pair for pair in losses if BASE not in (pair.first, pair.second)]
    winner = _beats_all([run.name for run in runs], between)
    if winner is None:
        return (*_no_winner(runs, between, strategies), None)
    return (*_winner(winner, runs, between, strategies), winner)


def _beats_all(names: Sequence[str], pairs: Sequence[PairedDifference]) -> str | None:
    return next(
        (name for name in names if pairs and all(p.winner == name for p in pairs if name in (p.first, p.second))), None
    )


def _about_strategies(strategies: Sequence[StrategyResult], pairs: Sequence[PairedDifference]) -> tuple[str, str]:
    drawn = ", ".join(f"{s.name}: {s.n_draws} x {s.n_seeds}" for s in strategies)
    scope = f"Draws x training seeds: {drawn}."
    winner = _beats_all([s.name for s in strategies], pairs)
    if winner is not None:
        closest = min((p for p in pairs if winner in (p.first, p.second)), key=lambda pair: abs(pair.effect or 0.0))
        other = closest.second if closest.first == winner else closest.first
        low, high = sorted((abs(closest.low or 0.0), abs(closest.high or 0.0)))
        headline = (
            f"The strategy {winner} is better: over its draws the eval loss is {abs(closest.effect or 0.0):.4f} nats a "
            f"token below that of {other}, the next best."
        )
        return headline, f"95% interval {low:.4f} to {high:.4f}, adjusted p {format_p(closest.p_holm)}. {scope}"
    best = min(strategies, key=lambda s: s.loss.value if s.loss.value is not None else float("inf"))
    shown = [pair for pair in pairs if pair.winner is not None]
    lowest = "" if best.loss.value is None else f"The lowest mean eval loss is {best.loss.value:.4f} ({best.name}). "
    if not shown:
        headline = f"No difference between the {len(strategies)} strategies was shown."
        return headline, f"{lowest}{_could_have_seen(pairs)[0].upper()}{_could_have_seen(pairs)[1:]} {scope}"
    differing = "; ".join(
        f"{p.winner} beats {p.second if p.winner == p.first else p.first} by {abs(p.effect or 0.0):.4f}" for p in shown
    )
    headline = f"No strategy was shown to beat all others; {len(shown)} of {len(pairs)} pairs differ: {differing}."
    return headline, f"{lowest}{scope}"


def _single(run: RunResult, losses: Sequence[PairedDifference], base_model: str) -> tuple[str, str]:
    gain, before, after = run.gain, run.base_loss.value, run.tuned_loss.value
    if gain.value is None or before is None or after is None:
        return f"The eval loss of {run.name} could not be measured.", f"{gain.reason or 'nothing was scored'}."
    if gain.low is None or gain.high is None:
        return f"The eval loss went from {before:.4f} to {after:.4f}.", f"No interval can be given: {gain.reason}."
    sure = f"95% interval {gain.low:.4f} to {gain.high:.4f} nats a token, paired over {gain.n} held-out rows"
    share = 100 * abs(gain.value) / before
    if gain.low > 0:
        headline = f"Training lowered the eval loss of {base_model} by {share:.1f}%, from {before:.4f} to {after:.4f}."
        return headline, f"The gain is {gain.value:.4f}, {sure}."
    if gain.high < 0:
        headline = f"Training raised the eval loss of {base_model} by {share:.1f}%, from {before:.4f} to {after:.4f}."
        return headline, f"The loss is {-gain.value:.4f} higher ({sure})."
    headline = f"No difference between {base_model} and the tuned model was shown on the held-out rows."
    return headline, f"The gain is {gain.value:.4f}, {sure}; {_could_have_seen(losses)}"


def _could_have_seen(pairs: Sequence[PairedDifference]) -> str:
    detectable = [pair.smallest_detectable for pair in pairs if pair.smallest_detectable is not None]
    if not detectable:
        return "what could have been shown cannot be computed from these rows."
    return f"a difference of {max(detectable):.4f} would have been shown four times in five."


def _no_winner(
    runs: Sequence[RunResult], between: Sequence[PairedDifference], strategies: Sequence[StrategyResult]
) -> tuple[str, str]:
    shown = sum(pair.winner is not None for pair in between)
    best = min((r for r in runs if r.tuned_loss.value is not None), key=lambda r: r.tuned_loss.value or 0.0)
    if not shown:
        headline = f"No difference between the {len(runs)} runs was shown."
        return (
            headline,
            f"The lowest eval loss is {best.tuned_loss.value:.4f} ({best.name}); {_could_have_seen(between)}",
        )
    headline = f"No run was shown to beat all others; {shown} of {len(between)} pairs differ."
    return headline, f"The lowest eval loss is {best.tuned_loss.value:.4f} ({best.name}). {_scope(runs, strategies)}"


def _winner(
    winner: str, runs: Sequence[RunResult], between: Sequence[PairedDifference], strategies: Sequence[StrategyResult]
) -> tuple[str, str]:
    mine = [pair for pair in between if winner in (pair.first, pair.second)]
    closest = min(mine, key=lambda pair: abs(pair.effect or 0.0))
    other = closest.second if closest.first == winner else closest.first
    low, high = sorted((abs(closest.low or 0.0), abs(closest.high or 0.0)))
    strategy = next(run.strategy for run in runs if run.name == winner)
    headline = (
        f"{winner} ({strategy}) won: its eval loss is {abs(closest.effect or 0.0):.4f} nats a token below that of "
        f"{other}, the next best."
    )
    certainty = (
        f"95% interval {low:.4f} to {high:.4f}, adjusted p {format_p(closest.p_holm)}, {closest.n} held-out rows."
    )
    return headline, f"{certainty} {_scope(runs, strategies)}"


def _scope(runs: Sequence[RunResult], strategies: Sequence[StrategyResult]) -> str:
    """What the claim is about: these runs, since some strategy was not drawn several times."""
    once = [result.name for result in strategies if result.n_draws == 1]
    if not strategies:
        once = list(dict.fromkeys(run.strategy for run in runs))
    return f"This is about these runs, not their strategies: one selection only was drawn by {', '.join(once)}."
