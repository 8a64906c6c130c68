"""The tables of the page of the study "which rows?", from its numbers."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_charts import times
from benchmarks.which_rows_results import ONLY, WORDS
from curate.page import format_p


def law_sentences(numbers: Mapping[str, Any]) -> list[str]:
    """Return what the mixing law promised, how far it could be trusted, and what came of it."""
    measured = {e["selector"]: e for e in numbers["in_distribution"]}
    said = []
    for goal, selector in (("V", "mixture"), ("mean over sources", "mixture for the mean over sources")):
        own, e = numbers["law"].get(goal), measured.get(selector)
        if own and e and e["percent"] is not None:
            said.append(
                f"{selector}: fitted on {numbers['proxies']} short runs, the law promised "
                f"{own['predicted_percent']:+.2f}%; the rank correlation on runs left out was "
                f"{own['rank_correlation']:.2f} (below 0.5 it is not to be believed), and its picks gave "
                f"{e['percent']:+.2f}%."
            )
    for name, own in numbers["weights"].items():
        if name != "fit" and (e := measured.get(f"fitted for {name}")) and e["percent"] is not None:
            form = numbers["well_formed"].get(e["selector"], {}).get("to_random")
            said.append(
                f"{e['selector']}: the weights were to give {own['predicted_percent']:+.2f}% loss on rows kept apart "
                f"and {own['predicted_points']:+.0f} points of answers that end; they gave {e['percent']:+.2f}% on the "
                "held-out rows"
                + ("." if form is None else f" and {100 * form['effect']:+.0f} points of well-formed ones.")
            )
    if fit := numbers["weights"].get("fit"):
        said.append(
            f"The weights were fitted on {fit['loss']['runs']} runs whose weights had been drawn at random; rank "
            f"correlation on runs left out: {fit['loss']['rank_correlation']:.2f} for the loss, "
            f"{fit['form']['rank_correlation']:.2f} for answers that end."
        )
    return said


COLUMNS = [
    "selector", "draws", "loss to random", "95% interval", "Holm's p", "x random's tokens", "share of the ceiling",
    "elsewhere",
]  # fmt: skip


def effect_rows(effects: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a table of effects, the best first."""
    rows = []
    for e in sorted(effects, key=lambda e: e["percent"] or 0.0):
        worth = times(e["worth"]) + (f" ({times(e['worth_low'])} to {times(e['worth_high'])})" if e["worth"] else "")
        share = "" if e["share"] is None else f"{e['share']:.0%} ({e['share_low']:.0%} to {e['share_high']:.0%})"
        interval = "" if e["low"] is None else f"{e['low']:+.2f} to {e['high']:+.2f}"
        p = "" if e["p_holm"] is None else format_p(e["p_holm"])
        others = ", ".join(f"{source} {percent:+.1f}%" for source, percent in e["others"].items())
        percent = "" if e["percent"] is None else f"{e['percent']:+.2f}%"
        rows.append(
            [e["selector"], str(e["draws"]), percent, interval, p, worth or str(e["worth_reason"]), share, others]
        )
    return rows


def form_rows(entries: Mapping[str, Any], what: str = "well-formed") -> list[list[str]]:
    """Return a table of the share of answers that are well-formed, or passed, the largest first."""
    rows = []
    for name, entry in sorted(entries.items(), key=lambda item: -(item[1]["share"]["value"] or 0.0)):
        share, pair = entry["share"], entry["to_random"]
        to_random = "" if pair is None or pair["low"] is None else (
            f"{100 * pair['effect']:+.1f} ({100 * pair['low']:+.1f} to {100 * pair['high']:+.1f})"
        )  # fmt: skip
        p = "" if pair is None or pair["p_holm"] is None else format_p(pair["p_holm"])
        least = (
            "" if pair is None or pair["smallest_detectable"] is None else f"{100 * pair['smallest_detectable']:.1f}"
        )
        rows.append([name, str(entry["draws"]), f"{share['value']:.1%}", to_random, p, least])
    return rows


def other_model_rows(numbers: Mapping[str, Any]) -> list[list[str]]:
    """Return, by model and target, what the target gave beside only its own rows and beside the study's model there."""
    here = {(s["selector"], s["target"], s["budget"]): s["percent"] for s in numbers["sizes"]}
    rows = []
    for model, own in numbers.get("other_models", {}).items():
        for source, found in own["targets"].items():
            words, only = (statistics.fmean(found[name]) for name in (WORDS, ONLY))
            beside = [here.get((name, source, own["budget"])) for name in (WORDS, ONLY)]
            rows.append(
                [
                    model, source, f"{own['budget']:,}", str(found["draws"]),
                    f"{words:+.2f}%", f"{only:+.2f}%", f"{words / only:.0%}" if only < 0 else "",
                    *("" if percent is None else f"{percent:+.2f}%" for percent in beside),
                ]
            )  # fmt: skip
    return rows


def other_model_plain_rows(numbers: Mapping[str, Any]) -> list[list[str]]:
    """Return, by model, what selectors without a target gave beside random, and what they gave on the study's model."""
    here = {e["selector"]: e["percent"] for e in numbers["in_distribution"]}
    return [
        [
            model, selector, f"{own['budget']:,}", str(len(percents)), f"{statistics.fmean(percents):+.2f}%",
            "" if here.get(selector) is None else f"{here[selector]:+.2f}%",
        ]
        for model, own in numbers.get("other_models", {}).items()
        for selector, percents in own.get("plain", {}).items()
    ]  # fmt: skip
