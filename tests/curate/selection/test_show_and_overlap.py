"""`curate show` prints picks by cluster without control characters; `curate overlap` counts what two share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.cli import main
from curate.selection.record import read_decisions, read_selection

TOPICS = ("sort a list", "open a socket", "parse a date", "draw a circle")


@pytest.fixture(scope="module")
def selections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three selections of one pool, and one of another."""
    folder = tmp_path_factory.mktemp("two")
    line = "\x1b[31mprint({i})\x1b]0;owned\x07\n"
    rows = [
        {"instruction": f"{TOPICS[i % 4]} number {i}", "output": line.replace("{i}", str(i)) * (20 if i % 2 else 1)}
        for i in range(120)
    ]
    for name, part in (("a", rows), ("b", rows), ("most", rows), ("other", rows[:90])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    for name, strategy, k in (("a", "random", 30), ("b", "first", 20), ("most", "random", 110), ("other", "first", 20)):
        words = ["--strategy", strategy, "--k", str(k), "--out", str(folder / name), "--holdout", "5"]
        words += ["--encoder", "tfidf", "--near-duplicate", "1", "--clean", "none", "--clusters", "4"]
        assert main(["select", "--dataset", str(folder / f"{name}.jsonl"), "--model", "smollm2-135m", *words]) == 0
    return folder


def test_picks_are_shown_by_cluster_and_nothing_reaches_the_terminal_but_text(selections: Path, capsys: Any) -> None:
    assert main(["show", str(selections / "a"), "--rows", "6"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x07" not in shown
    assert "␛[31mprint(" in shown
    selection = read_selection(selections / "a")
    ids = [row.row_id for row in selection.selected if row.row_id in shown]
    assert len(ids) == 6
    decisions = {d["row_id"]: d["cluster"] for d in read_decisions(selection).to_pylist()}
    clusters = {decisions[row_id] for row_id in ids}
    assert len(clusters) == len({decisions[row.row_id] for row in selection.selected}) == 4
    assert [line.split(":")[0] for line in shown.splitlines() if line.startswith("cluster ")] == [
        f"cluster {c}" for c in dict.fromkeys(decisions[row_id] for row_id in sorted(ids, key=shown.index))
    ]
    assert main(["show", str(selections / "a"), "--rows", "30", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert sum(len(cluster["rows"]) for cluster in record["clusters"]) == 30
    counts = [cluster["picked"] for cluster in record["clusters"]]
    assert counts == sorted(counts, reverse=True) and sum(counts) == 30


def test_long_texts_are_cut_unless_whole_and_an_unknown_cluster_is_refused(selections: Path, capsys: Any) -> None:
    assert main(["show", str(selections / "a"), "--rows", "30"]) == 0
    assert "more lines not shown]" in capsys.readouterr().out
    assert main(["show", str(selections / "a"), "--rows", "30", "--whole"]) == 0
    whole = capsys.readouterr().out
    assert "not shown]" not in whole
    assert sum(line.count("print(") for line in whole.splitlines()) == sum(
        row.output.count("print(") for row in read_selection(selections / "a").selected
    )
    assert main(["show", str(selections / "a"), "--cluster", "77"]) == 1
    assert "No row of cluster 77 was picked. Clusters with most picks: " in capsys.readouterr().err


def test_the_rows_in_both_selections_are_counted(selections: Path, capsys: Any) -> None:
    picks = [{row.row_id for row in read_selection(selections / name).selected} for name in ("a", "b")]
    both = len(picks[0] & picks[1])
    assert main(["overlap", str(selections / "a"), str(selections / "b")]) == 0
    assert capsys.readouterr().out == (
        f"{both} rows are in both, of 30 in a and 20 in b ({both / (50 - both):.1%} of all that either picked), "
        "from the same pool.\nTwo draws at random would share 5.2.\nThe held-out rows are the same.\n"
    )
    assert main(["overlap", str(selections / "a"), str(selections / "b"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record["shared_row_ids"]) == picks[0] & picks[1]
    assert (record["shared"], record["by_chance"]) == (both, 5.2)


def test_a_pick_that_the_other_selection_holds_out_is_said(selections: Path, capsys: Any) -> None:
    held = {row.row_id for row in read_selection(selections / "other").holdout}
    n = len(held & {row.row_id for row in read_selection(selections / "most").selected})
    assert main(["overlap", str(selections / "most"), str(selections / "other")]) == 0
    said = capsys.readouterr().out
    assert "from different pools." in said
    assert n > 0
    assert f"{n} rows that most picked are held out by other: do not compare runs of the two." in said
