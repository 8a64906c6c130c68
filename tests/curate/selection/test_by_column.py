"""`--pick-where` and `--cap`: rows of some values alone, or at most a share of each, beside the same held-out rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curate.selection.record import Selection, read_decisions, read_selection
from tests.curate.selection.small_selections import run_select

WORDS = ("sort", "open", "parse", "draw", "merge", "count")
ROWS = [
    {"instruction": f"{WORDS[i % 6]} {'the ' * (i % 7)}thing {i}", "output": f"print({i})\n" * (1 + i % 5),
     "source": ("docs", "docs", "forum", "book")[i % 4], "topic": ("Web", "data", None)[i % 3]}
    for i in range(160)
]  # fmt: skip


def select(folder: Path, name: str, *more: str) -> int:
    return run_select(folder, ROWS, name, "--near-duplicate", "1", "--holdout", "12", *more)


def made(folder: Path, name: str, *more: str) -> Selection:
    assert select(folder, name, *more) == 0
    return read_selection(folder / name)


def test_rows_of_one_source_are_picked_and_the_holdout_stays(tmp_path: Path) -> None:
    whole = made(tmp_path, "whole", "--k", "20")
    forum = made(tmp_path, "forum", "--k", "20", "--pick-where", "source=Forum")
    assert {row.source for row in forum.selected} == {"forum"}
    assert forum.holdout == whole.holdout
    assert len({row.source for row in whole.holdout}) == 3
    fates = Counter((d["reason"], d["source"]) for d in read_decisions(forum).to_pylist())
    assert fates["not_to_be_picked", "docs"] + fates["holdout", "docs"] == 80
    assert ("not_to_be_picked", "forum") not in fates


def test_a_column_that_does_not_travel_otherwise_can_be_named(tmp_path: Path) -> None:
    web = made(tmp_path, "web", "--k", "20", "--pick-where", "topic=web", "--pick-where", "source=docs,book")
    assert {(row.extra["topic"], row.source) for row in web.selected} == {("Web", "docs"), ("Web", "book")}


@pytest.mark.parametrize("strategy", ["random", "kmeans", "facility-location", "density"])
def test_no_source_has_more_rows_than_its_cap(strategy: str, tmp_path: Path) -> None:
    capped = made(tmp_path, "capped", "--strategy", strategy, "--k", "40", "--cap", "source=0.4")
    n = Counter(row.source for row in capped.selected)
    assert sum(n.values()) == 40
    assert max(n.values()) <= 16


def test_a_cap_leaves_the_picks_below_it_as_they_are_and_says_who_reached_it(tmp_path: Path) -> None:
    free = made(tmp_path, "free", "--strategy", "shortest", "--k", "30")
    loose = made(tmp_path, "loose", "--strategy", "shortest", "--k", "30", "--cap", "source=1")
    assert loose.selected == free.selected
    tight = made(tmp_path, "tight", "--strategy", "shortest", "--k", "30", "--cap", "source=0.4", "--cap", "topic=0.9")
    docs, capped = ([row.row_id for row in each.selected if row.source == "docs"] for each in (free, tight))
    assert len(docs) > 12 and capped == docs[:12]
    assert "--cap source=0.4: as much as it allows of docs." in tight.manifest.config["notes"]


def test_with_a_token_budget_a_cap_is_of_tokens_and_counts_what_stands(tmp_path: Path) -> None:
    first = made(tmp_path, "first", "--k", "10", "--pick-where", "source=docs")
    stood = sum(row.token_count for row in first.selected)
    budget = 5 * stood
    grown = made(
        tmp_path, "grown", "--token-budget", str(budget), "--cap", "source=0.4", "--keep", str(tmp_path / "first")
    )
    tokens = Counter[str]()
    for row in grown.selected:
        tokens[row.source] += row.token_count
    assert stood < max(tokens.values()) <= 0.4 * budget
    assert sum(tokens.values()) >= 0.99 * budget
    assert grown.selected[:10] == first.selected


def test_kept_rows_stand_beside_what_is_picked_by_a_column(tmp_path: Path) -> None:
    first = made(tmp_path, "first", "--k", "20")
    grown = made(tmp_path, "grown", "--k", "30", "--keep", str(tmp_path / "first"), "--pick-where", "source=book")
    assert grown.selected[:20] == first.selected
    assert {row.source for row in first.selected} == {"docs", "forum", "book"}
    assert {row.source for row in grown.selected[20:]} == {"book"}


def test_kept_rows_beyond_a_cap_are_said_and_what_can_be_done_works(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path, "first", "--k", "10", "--pick-where", "source=docs")
    keep = ["--keep", str(tmp_path / "first"), "--cap", "source=0.4"]
    same = made(tmp_path, "same", "--k", "10", *keep)
    assert (
        "--cap source=0.4: the rows of --keep alone have more than it allows of docs." in same.manifest.config["notes"]
    )
    assert not any("as much as it allows of docs" in note for note in same.manifest.config["notes"])
    capsys.readouterr()
    assert select(tmp_path, "none", "--k", "28", *keep[:2], "--cap", "source=0.3") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "The candidates have 3 values of source: a share of 0.34 or more can be filled." in said
    assert select(tmp_path, "some", "--k", "28", *keep[:2], "--cap", "source=0.34") == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--pick-where", "sorce=docs"], 'The pool has no column "sorce" for --pick-where.'),
        (["--pick-where", "source=web"], "Its values: docs 80, forum 40, book 40."),
        (["--pick-where", "source"], '--pick-where has "source".'),
        (["--cap", "license=0.3"], 'The pool has no column "license" for --cap.'),
        (["--cap", "source=1.5"], '--cap has "source=1.5".'),
        (["--cap", "source=half"], '--cap has "source=half".'),
        (["--cap", "source=0.01"], "--cap source=0.01 of 20 is less than one."),
        (["--cap", "source=0.2"], "--k 20 is more than the 12 of 148 candidates that --cap source=0.2 allows."),
        (
            ["--token-budget", "400", "--cap", "source=0.01"],
            "--token-budget 400: --cap source=0.01 leaves no candidate.",
        ),
        (["--cap", "source=0.2", "--cap", "source=0.3"], '--cap has "source=0.3".'),
    ],
)
def test_what_cannot_be_is_said_with_what_can(options: list[str], sentence: str, tmp_path: Path, capsys: Any) -> None:
    assert select(tmp_path, "wrong", "--k", "20", *options) != 0
    assert sentence in " ".join(capsys.readouterr().err.split())
