"""A selection grows around an earlier one with `--keep`, and is made with the user's own vectors with `--vectors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.cli import main
from curate.errors import UserError
from curate.pool.rows import build_row
from curate.selection.inspection import tell_row
from curate.selection.record import Selection, read_decisions, read_selection
from curate.sources import load_rows
from curate.vectors.given import load_given
from tests.curate.selection.small_selections import run_select

WORDS = ("sort", "open", "parse", "draw", "merge", "count")
ROWS = [
    {
        "id": f"q{i}",
        "instruction": f"{WORDS[i % 6]} {'the ' * (i % 7)}thing {i}",
        "output": f"print({i})\n" * (1 + i % 5),
    }
    for i in range(120)
]


def select(folder: Path, name: str, *more: str) -> int:
    return run_select(folder, ROWS, name, "--near-duplicate", "0.999", "--holdout", "8", *more)


def made(folder: Path, name: str, *more: str) -> Selection:
    assert select(folder, name, *more) == 0
    return read_selection(folder / name)


def ids(selection: Selection) -> list[str]:
    return [row.row_id for row in selection.selected]


@pytest.mark.parametrize("strategy", ["random", "kmeans", "facility-location", "kcenter", "mmr"])
def test_kept_rows_stand_first_and_the_rest_is_chosen_around_them(strategy: str, tmp_path: Path) -> None:
    first = made(tmp_path, "first", "--strategy", "random", "--seed", "3", "--k", "15")
    grown = made(tmp_path, "grown", "--strategy", strategy, "--k", "40", "--keep", str(tmp_path / "first"))
    assert ids(grown)[:15] == ids(first)
    assert len(set(ids(grown))) == 40
    decisions = {d["row_id"]: d for d in read_decisions(grown).to_pylist()}
    assert [(decisions[i]["fate"], decisions[i]["reason"]) for i in ids(grown)] == (
        [("selected", "kept")] * 15 + [("selected", strategy)] * 25
    )
    assert {record.file for record in grown.manifest.inputs} == {"rows.jsonl", "first/selected.jsonl"}
    assert grown.manifest.config["keep"] == str(tmp_path / "first")


def test_what_is_chosen_depends_on_what_stands(tmp_path: Path) -> None:
    made(tmp_path, "first", "--strategy", "first", "--k", "15")
    alone = made(tmp_path, "alone", "--strategy", "kcenter", "--k", "30")
    grown = made(tmp_path, "grown", "--strategy", "kcenter", "--k", "30", "--keep", str(tmp_path / "first"))
    assert set(ids(alone)) != set(ids(grown))
    assert ids(made(tmp_path, "again", "--strategy", "kcenter", "--k", "30", "--keep", str(tmp_path / "first"))) == (
        ids(grown)
    )


def test_a_token_budget_counts_the_kept_rows_and_exchanges_none_of_them(tmp_path: Path, capsys: Any) -> None:
    first = made(tmp_path, "first", "--strategy", "random", "--k", "12")
    kept_tokens = sum(row.token_count for row in first.selected)
    budget = str(3 * kept_tokens)
    grown = made(tmp_path, "grown", "--token-budget", budget, "--strategy", "random", "--keep", str(tmp_path / "first"))
    assert ids(grown)[:12] == ids(first)
    total = sum(row.token_count for row in grown.selected)
    assert 0.97 * 3 * kept_tokens < total <= 3 * kept_tokens
    words = ["--strategy", "random", "--keep", str(tmp_path / "first")]
    assert select(tmp_path, "x", "--token-budget", str(kept_tokens - 1), *words) == 1
    assert f"is below the {kept_tokens} tokens of the rows that are kept" in capsys.readouterr().err


def test_rows_that_cannot_stand_are_an_error_that_says_why(tmp_path: Path, capsys: Any) -> None:
    first = made(tmp_path, "first", "--strategy", "random", "--k", "20")
    keep = ["--keep", str(tmp_path / "first")]
    assert select(tmp_path, "x", "--k", "10", *keep) == 1
    assert "--k 10 is fewer than the 20 rows of --keep first. --k counts the kept rows too" in capsys.readouterr().err
    lengths = sorted(row.token_count for row in first.selected)
    n = sum(length > lengths[15] for length in lengths)
    assert n > 0 and select(tmp_path, "x", "--k", "20", "--max-tokens", str(lengths[15]), *keep) == 1
    said = capsys.readouterr().err
    assert f"{n} of the 20 rows of --keep first cannot stand: too_long {n}. Select from the same rows" in said
    assert not (tmp_path / "x").exists()


def write_vectors(folder: Path) -> tuple[Path, Path]:
    """Two groups far apart: even rows and odd rows, in order without ids, and shuffled with them."""
    rng = np.random.default_rng(0)
    centres = np.array([[10.0, 0, 0, 0], [0, 10.0, 0, 0]])
    vectors = (centres[np.arange(len(ROWS)) % 2] + rng.normal(size=(len(ROWS), 4))).astype(np.float32)
    np.save(folder / "v.npy", vectors)
    order = rng.permutation(len(ROWS))
    np.savez(folder / "v.npz", ids=np.array([ROWS[i]["id"] for i in order]), vectors=vectors[order])
    return folder / "v.npy", folder / "v.npz"


def test_given_vectors_decide_the_clusters_by_order_or_by_id(tmp_path: Path) -> None:
    in_order, by_id = write_vectors(tmp_path)
    options = ["--strategy", "kmeans", "--k", "20", "--clusters", "2", "--near-duplicate", "1"]
    first = made(tmp_path, "order", *options, "--vectors", str(in_order))
    decisions = read_decisions(first).to_pylist()
    halves = [{d["cluster"] for d in decisions[start::2]} for start in (0, 1)]
    assert [len(half) for half in halves] == [1, 1] and halves[0] != halves[1]
    second = made(tmp_path, "ids", *options, "--vectors", str(by_id))
    assert ids(second) == ids(first)
    assert first.manifest.config["config_digest"] != second.manifest.config["config_digest"]
    assert {record.file for record in first.manifest.inputs} == {"rows.jsonl", "v.npy"}


def test_the_nearest_pick_is_told_by_the_given_vectors_while_they_are_there(tmp_path: Path) -> None:
    for place, path in enumerate(write_vectors(tmp_path)):
        selection = made(tmp_path, f"s{place}", "--k", "20", "--near-duplicate", "1", "--vectors", str(path))
        vectors = load_given(path, len(ROWS)).of(load_rows(str(tmp_path / "rows.jsonl")).rows)
        picks = [d["row_index"] for d in read_decisions(selection).to_pylist() if d["fate"] == "selected"]
        row = next(i for i in range(120) if i not in picks)
        (story,) = tell_row(selection, str(row))
        assert story.nearest_cosine == pytest.approx(float((vectors[picks] @ vectors[row]).max()), abs=1e-4)
        path.write_bytes(b"others")
        (story,) = tell_row(selection, str(row))
        assert story.nearest_pick is None and f"{path}" in str(story.why_unknown)
        assert "cache" not in str(story.why_unknown)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (
            lambda path: np.save(path, np.zeros((3, 4), dtype=np.float32)),
            "holds 3 vectors (shape (3, 4)), and the pool",
        ),
        (lambda path: np.save(path, np.zeros(120)), "holds an array of shape (120,) and type float64"),
        (lambda path: np.save(path, np.zeros((120, 4))), "has 120 vectors that are zero, infinite or not numbers"),
        (lambda path: np.save(path, np.array([["a"] * 4] * 120)), "holds an array of shape (120, 4) and type <U1"),
        (lambda path: path.write_bytes(b"rows"), "is no file of numpy's with numbers in it"),
    ],
    ids=["rows", "one axis", "zeros", "texts", "no numpy"],
)
def test_vectors_of_another_form_are_told_the_form_that_is_wanted(
    write: Any, says: str, tmp_path: Path, capsys: Any
) -> None:
    write(tmp_path / "v.npy")
    assert select(tmp_path, "x", "--k", "20", "--vectors", str(tmp_path / "v.npy")) == 1
    said = capsys.readouterr().err
    assert says in said
    wanted = (
        "Correct those vectors." if "zero" in says else "Wanted: numpy.save of one vector for every row of the pool"
    )
    assert wanted in said


def test_a_row_without_a_vector_and_a_target_are_refused(tmp_path: Path, capsys: Any) -> None:
    np.savez(tmp_path / "v.npz", ids=np.array(["q1", "q2"]), vectors=np.ones((2, 3), dtype=np.float32))
    assert select(tmp_path, "x", "--k", "20", "--vectors", str(tmp_path / "v.npz")) == 1
    assert "has no vector for 118 rows (the first: " in capsys.readouterr().err
    np.savez(tmp_path / "v.npz", names=np.array(["q1"]))
    assert select(tmp_path, "x", "--k", "20", "--vectors", str(tmp_path / "v.npz")) == 1
    assert "holds names, not ids and vectors." in capsys.readouterr().err
    options = ["--strategy", "rds", "--target", str(tmp_path / "rows.jsonl"), "--encoder", "static"]
    assert select(tmp_path, "x", "--k", "20", "--vectors", str(tmp_path / "v.npz"), *options) == 2
    assert "Strategy rds cannot use --vectors" in capsys.readouterr().err


def test_a_bad_vector_is_named_by_its_place_in_the_file_and_ids_as_objects_get_the_way_out(
    tmp_path: Path, capsys: Any
) -> None:
    vectors = np.random.default_rng(0).normal(size=(120, 4))
    vectors[[7, 90]] = 0
    np.save(tmp_path / "v.npy", vectors)
    assert select(tmp_path, "x", "--k", "20", "--vectors", str(tmp_path / "v.npy")) == 1
    assert "has 2 vectors that are zero, infinite or not numbers (the first: vector 7, counted from 0)." in (
        capsys.readouterr().err
    )
    np.savez(tmp_path / "v.npz", ids=np.array([row["id"] for row in ROWS], dtype=object), vectors=vectors)
    assert select(tmp_path, "x", "--k", "20", "--vectors", str(tmp_path / "v.npz")) == 1
    assert "v.npz holds Python objects, which are not loaded. Write them as text and numbers: numpy.savez(" in (
        capsys.readouterr().err
    )


def test_one_vector_is_not_taken_for_several_rows_with_the_same_id(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, ids=np.array(["q0", "q1"]), vectors=np.eye(2, dtype=np.float32))
    given = load_given(path, 3)
    rows = [build_row(i, f"ask {i}", "x", "s", {"id": f"q{i % 2}"}) for i in range(3)]
    assert given.of(rows[1::-1]).tolist() == [[0, 1], [1, 0]]
    assert given.of([rows[0], rows[0]]).tolist() == [[1, 0], [1, 0]]  # the same text twice is the same row
    with pytest.raises(UserError, match='Several rows have the id "q0", and .*v.npz has one vector for it. Name the'):
        given.of(rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--k", "20"], "(excluded: not_single_turn 30). --turns last or --turns all takes longer conversations.\n"),
        (
            ["--k", "20", "--turns", "last", "--system", "require"],
            "(excluded: no_system_message 30). --system keep takes rows without a system message.\n",
        ),
        (
            ["--k", "40", "--turns", "last", "--max-tokens", "1000"],
            "(3 held out; excluded: none). Take --k 27 or less.\n",
        ),
    ],
)
def test_a_file_of_long_conversations_is_told_the_option_that_takes_them(
    options: list[str], said: str, tmp_path: Path, capsys: Any
) -> None:
    talks = [
        {
            "conversations": [
                message
                for n in range(2)
                for message in (
                    {"from": "human", "value": f"Ask {number} {n} {WORDS[number % 6]}"},
                    {"from": "gpt", "value": f"Tell {number} {n}"},
                )
            ]
        }
        for number in range(30)
    ]
    (tmp_path / "talks.json").write_text(json.dumps(talks))
    command = ["select", "--dataset", str(tmp_path / "talks.json"), "--model", "smollm2-135m", "--encoder", "tfidf"]
    assert main([*command, "--near-duplicate", "1", "--clean", "none", *options]) == 1
    assert capsys.readouterr().err.endswith(said)


def test_keys_in_the_holdout_are_said(tmp_path: Path, capsys: Any) -> None:
    key = "".join(("AKIA", "Q3EGRNX7PWBM2KTZ"))
    rows = [row | {"output": f"{row['output']}\nkey = '{key}'"} for row in ROWS]
    (tmp_path / "keys.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:60] + ROWS[60:]))
    command = ["select", "--dataset", str(tmp_path / "keys.jsonl"), "--model", "smollm2-135m", "--encoder", "tfidf"]
    options = ["--near-duplicate", "1", "--k", "10", "--clean", "secrets", "--out", str(tmp_path / "s")]
    assert main([*command, *options]) == 0
    held = sum(key in row.output for row in read_selection(tmp_path / "s").holdout)
    assert held > 0
    assert f"{held} held-out rows hold a key or token as well; they stay in holdout.jsonl." in capsys.readouterr().err
