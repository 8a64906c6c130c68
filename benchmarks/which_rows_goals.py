"""The goals of the study "which rows?", each met or missed, with its figure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_cells import BEST, CLEANEST
from benchmarks.which_rows_results import RANDOM, Effect

NO_LOSS = 0.1  # percent above random's loss that still count as none


def goals(
    families: Mapping[str, Sequence[Effect]], numbers: Mapping[str, Any], sources: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the study's goals, each met or missed, with its figure."""
    lines: list[dict[str, Any]] = []
    for selector, least, least_low in (
        ("target-words", 0.65, 0.55), ("influence-classifier", 0.65, 0.55), ("target-words, prompts alone", 0.45, None),
    ):  # fmt: skip
        for source in sources:
            e = next((e for e in families[source] if e.selector == selector and e.share is not None), None)
            if e is None or e.share is None or e.share_low is None:
                continue
            aim = f"at least {least:.0%}" + (f", lower end at least {least_low:.0%}" if least_low else "")
            figure = f"{e.share:.0%} ({e.share_low:.0%} to {e.share_high:.0%})"
            met = e.share >= least and e.share_low >= (least_low or 0.0)
            measure = f"{selector}, target {source}: share of the ceiling"
            lines.append({"measure": f"{measure}, all draws", "goal": aim, "figure": figure, "met": met})
            value, low, high = numbers["fresh_shares"][f"{selector}, target {source}"]
            if value is not None:
                figure = f"{value:.0%} ({low:.0%} to {high:.0%})"
                met = value >= least and low >= (least_low or 0.0)
                lines.append({"measure": f"{measure}, fresh draws alone", "goal": aim, "figure": figure, "met": met})
    lines += plain_goals([e for e in families[""] if e.percent is not None], numbers)
    front = numbers["frontier"]
    if front:
        lines.append(
            {
                "measure": "both at once: no other selector is better on loss and on well-formed answers",
                "goal": "shown on a chart", "figure": ", ".join(front), "met": True,
            }
        )  # fmt: skip
    return lines


def plain_goals(plain: Sequence[Effect], numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the goals without a target: for what was chosen on V and drawn afresh, and for the best of all tried."""
    lines: list[dict[str, Any]] = []
    worth = [e for e in plain if e.worth and e.worth_low and e.worth_high]
    for e, how in (
        (next((e for e in worth if e.selector == BEST), None), "chosen on V, fresh draws"),
        (max(worth, key=lambda e: e.worth or 0.0, default=None), "the best of all tried"),
    ):
        if e is not None and e.worth and e.worth_low:
            lines.append(
                {
                    "measure": f"in distribution: worth in random's tokens, {how}: {e.selector}",
                    "goal": "at least 1.10, lower end above 1.03",
                    "figure": f"{e.worth:.2f} ({e.worth_low:.2f} to {e.worth_high:.2f})",
                    "met": e.worth >= 1.10 and e.worth_low > 1.03,
                }
            )  # fmt: skip
    forms = {e.selector: pair for e in plain if (pair := numbers["well_formed"].get(e.selector, {}).get("to_random"))}
    cheap = [e for e in plain if e.selector in forms and (e.percent or 0.0) <= NO_LOSS]
    for e, how in (
        (next((e for e in plain if e.selector == CLEANEST and e.selector in forms), None), "chosen on V, fresh draws"),
        (
            max(cheap, key=lambda e: float(forms[e.selector]["effect"]), default=None),
            "the best of all tried at that loss",
        ),
    ):
        if e is not None:
            form = forms[e.selector]
            points = f"{100 * form['effect']:+.1f} points ({100 * form['low']:+.1f} to {100 * form['high']:+.1f})"
            lines.append(
                {
                    "measure": f"well-formed answers at no loss, {how}: {e.selector}",
                    "goal": "13 points at a loss at most 0.1% above random's",
                    "figure": f"{points} at {e.percent:+.2f}% loss ({e.low:+.2f} to {e.high:+.2f})",
                    "met": form["effect"] >= 0.13 and (e.percent or 0.0) <= NO_LOSS,
                }
            )  # fmt: skip
    return lines


def frontier(numbers: Mapping[str, Any]) -> list[str]:
    """Return the selectors that no other one, nor random, beats on both measures by their point estimates."""
    points = {RANDOM: (0.0, 0.0)}
    for e in numbers["in_distribution"]:
        pair = numbers["well_formed"].get(e["selector"], {}).get("to_random")
        if pair is not None and e["percent"] is not None:
            points[e["selector"]] = (e["percent"], -pair["effect"])
    if len(points) < 2:
        return []
    return [
        name
        for name, (loss, form) in points.items()
        if not any(a <= loss and b <= form and (a, b) != (loss, form) for a, b in points.values())
    ]
