"""The worth beside the strategies in docs/strategies.md is that of the study in reports/which-1000-rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from curate.strategies.table import STRATEGIES

ROOT = Path(__file__).parents[3]
STUDY = json.loads((ROOT / "reports" / "which-1000-rows" / "numbers.json").read_text(encoding="utf-8"))
TEXT = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8").partition("| Strategy | What it picks")[2]
ROWS = re.findall(r"^\| `([a-z-]+)` \|.*\|([^|]*)\|$", TEXT.partition("\n\n")[0], re.MULTILINE)
TABLE = {name: worth.strip() for name, worth in ROWS}
# Where the study's name for the defaults of a strategy is another.
AS_STUDIED = {"well-formed": "well-formed 0.5", "influence": "influence 0.5", "short-part": "short-part 0.2"}


def studied(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows if row["selector"] == AS_STUDIED.get(name, name))


def test_every_strategy_has_its_line() -> None:
    assert sorted(TABLE) == sorted(STRATEGIES)


@pytest.mark.parametrize("name", sorted(name for name, entry in STRATEGIES.items() if entry.takes_target))
def test_the_worth_for_three_targets_is_the_studys(name: str) -> None:
    found = [studied(STUDY["targets"][source], name)["worth"] for source in ("codegen", "codealpaca", "stdlib")]
    assert TABLE[name] == ", ".join(f"{worth:.2f}" for worth in found)


@pytest.mark.parametrize(
    "name", ["kmeans", "short-rows", "short-part", "well-formed", "shortest", "influence", "mixture"]
)
def test_the_worth_without_a_target_is_the_studys_with_its_interval(name: str) -> None:
    row = studied(STUDY["in_distribution"], name)
    how = "`--by strata` " if name == "mixture" else ""  # its weights of features were measured with influence as well
    assert TABLE[name] == how + f"{row['worth']:.2f} ({row['worth_low']:.2f} to {row['worth_high']:.2f})"


def test_what_was_not_trained_has_no_worth() -> None:
    trained = {AS_STUDIED.get(name, name) for name, worth in TABLE.items() if worth} - {"random"}
    known = {row["selector"] for rows in [STUDY["in_distribution"], *STUDY["targets"].values()] for row in rows}
    assert len(trained) == 12 and trained <= known
