"""The goals of the study "which rows?", each met or missed, with its figure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_plan import BEST, CLEANEST
from benchmarks.which_rows_results import RANDOM, Effect


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
    plain = {e.selector: e for e in families[""]}
    best = plain.get(BEST)
    clean = plain.get(CLEANEST)
    if best and best.worth and best.worth_low:
        figure = f"{best.worth:.2f} ({best.worth_low:.2f} to {best.worth_high:.2f})"
        lines.append(
            {
                "measure": "in distribution: worth in random's tokens", "goal": "at least 1.10, lower end above 1.03",
                "figure": figure, "met": best.worth >= 1.10 and best.worth_low > 1.03,
            }
        )  # fmt: skip
    form = numbers["well_formed"].get(clean.selector, {}).get("to_random") if clean else None
    if clean and clean.percent is not None and form:
        points = f"{100 * form['effect']:+.1f} points ({100 * form['low']:+.1f} to {100 * form['high']:+.1f})"
        loss = f"{clean.percent:+.2f}% loss ({clean.low:+.2f} to {clean.high:+.2f})"
        lines.append(
            {
                "measure": "well-formed answers at no loss", "goal": "13 points at a loss at most 0.1% above random's",
                "figure": f"{points} at {loss}", "met": form["effect"] >= 0.13 and clean.percent <= 0.1,
            }
        )  # fmt: skip
    front = numbers["frontier"]
    if front:
        lines.append(
            {
                "measure": "both at once: no other selector is better on loss and on well-formed answers",
                "goal": "shown on a chart", "figure": ", ".join(front), "met": True,
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
