"""A comparison as text for a terminal: the summary first, sorted from the best, then strategies, then single models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from curate.page import format_number, format_p
from evaluate_suite.comparison.models import ComparedModels
from evaluate_suite.statistics.types import Estimate, PairedDifference

MOST_PAIRS = 15  # that are printed in full; of more, those of the best alone


def comparison_lines(compared: ComparedModels) -> list[str]:
    """The answer, every model or strategy with what it beats, the pairs, and what else is to be known."""
    lines = []
    if compared.strategies is not None:
        levels = compared.strategies
        lines += [f"{compared.measure}, taken together (about these {levels.scope})"]
        lines += _summary_lines(levels.estimates, levels.pairs, compared.higher_is_better)
        lines += _pair_lines(levels.pairs, levels.estimates, compared.higher_is_better)
        lines += _pairing_line(compared)
        lines.append("")
    lines += [compared.measure]
    lines += _summary_lines(compared.estimates, compared.pairs, compared.higher_is_better)
    lines += _pair_lines(compared.pairs, compared.estimates, compared.higher_is_better)
    lines += ["", *compared.notes] if compared.notes else []
    for name, part in compared.parts.items():
        lines += ["", f"On {name} alone:", *comparison_lines(part)[:-2]]
    return [*lines, "", _answer(compared)]


def _answer(compared: ComparedModels) -> str:
    if compared.winner is not None:
        return f"Winner: {compared.winner}."
    if compared.baseline is None:
        return "No winner is shown."
    better = [pair.second for pair in compared.deciding if pair.winner == pair.second]
    worse = [pair.second for pair in compared.deciding if pair.winner == pair.first]
    shown = [f"better than {compared.baseline}: {', '.join(better)}"] if better else []
    shown += [f"worse: {', '.join(worse)}"] if worse else []
    return f"Shown {'; '.join(shown)}." if shown else f"No difference from {compared.baseline} is shown."


def _best_first(estimates: Mapping[str, Estimate], higher_is_better: bool) -> list[str]:
    sign = -1.0 if higher_is_better else 1.0
    return sorted(
        estimates, key=lambda name: float("inf") if (value := estimates[name].value) is None else sign * value
    )


def _summary_lines(
    estimates: Mapping[str, Estimate], pairs: Sequence[PairedDifference], higher_is_better: bool
) -> list[str]:
    width = max(len(name) for name in estimates)
    lines = []
    for name in _best_first(estimates, higher_is_better):
        estimate = estimates[name]
        low, high = format_number(estimate.low, 4), format_number(estimate.high, 4)
        between = "" if estimate.low is None else f"  ({low} to {high})"
        mine = [pair for pair in pairs if name in (pair.first, pair.second) and pair.winner is not None]
        beats = sum(pair.winner == name for pair in mine)
        counts = f"  beats {beats}, beaten by {len(mine) - beats}" if mine else ""
        lines.append(f"  {name:<{width}}  {format_number(estimate.value, 4)}{between}  n {estimate.n}{counts}")
    return lines


def _pair_lines(
    pairs: Sequence[PairedDifference], estimates: Mapping[str, Estimate], higher_is_better: bool
) -> list[str]:
    """The pairs from the largest difference down; of many, those of the best model and how to see the rest."""
    if not pairs:
        return []
    shown, left = list(pairs), ""
    baseline = all(pair.first == pairs[0].first for pair in pairs)
    if len(pairs) > MOST_PAIRS and not baseline:
        best = _best_first(estimates, higher_is_better)[0]
        shown = [pair for pair in pairs if best in (pair.first, pair.second)]
        left = (
            f"  {len(pairs) - len(shown)} pairs without {best} are in --json; "
            f"--baseline NAME compares NAME alone with the others."
        )
    shown.sort(key=lambda pair: -abs(pair.effect or 0.0))
    return ["", "second minus first", *(_pair_line(pair) for pair in shown), *([left] if left else [])]


def _pair_line(pair: PairedDifference) -> str:
    """One pair in a line: effect, interval, corrected p values, and what was shown or could have been."""
    who = f"  {pair.second} minus {pair.first}:"
    if pair.effect is None:
        return f"{who} not compared: {pair.reason}"
    text = f"{who} {format_number(pair.effect, 4)}"
    if pair.low is not None:
        text += f" ({format_number(pair.low, 4)} to {format_number(pair.high, 4)})"
    if pair.unpaired is not None:
        text += f", unpaired {format_number(pair.unpaired.low, 4)} to {format_number(pair.unpaired.high, 4)}"
    text += f", {pair.n_units} {pair.unit}, p {format_p(pair.p_holm)} (Holm) {format_p(pair.p_fdr)} (FDR)"
    if pair.winner is not None:
        return f"{text}: {pair.winner} is better"
    if pair.smallest_detectable is None:
        return f"{text}: no difference shown"
    return f"{text}: no difference shown; {format_number(pair.smallest_detectable, 4)} would have been, 4 times in 5"


def _pairing_line(compared: ComparedModels) -> list[str]:
    factor = None if compared.strategies is None else compared.strategies.pairing_factor
    if factor is None:
        return []
    return [f"  Draws share their random numbers; that makes the variance of a difference {factor:.2f} of what it was."]
