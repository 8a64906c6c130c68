"""`curate select` end to end, on rows with a fast encoder: guarantees, fates, reuse, bad input."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pyarrow.parquet
import pytest

from curate.cli import main
from curate.selection.record import read_selection

SUBJECTS = ("list", "dict", "file", "string", "matrix", "graph", "tree", "queue", "date", "socket", "regex", "thread")
VERBS = ("sort", "reverse", "parse", "copy", "merge", "count", "filter", "print", "cache", "split")
LANGUAGES = ("Python", "Rust", "Java", "SQL")


def rows() -> list[dict[str, str]]:
    """480 different rows, one of them twice, one with an empty output, one far too long."""
    made = [
        {
            "instruction": f"{verb} a {subject} in {language}",
            "output": f"{verb}_{subject}() -- {language} " * (1 + i % 7),
        }
        for i, (verb, subject, language) in enumerate(
            (verb, subject, language) for verb in VERBS for subject in SUBJECTS for language in LANGUAGES
        )
    ]
    made += [
        dict(made[7]),
        {"instruction": "say nothing", "output": " \n"},
        {"instruction": "long", "output": "word " * 900},
    ]
    return made


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return path


def run(pool: Path, *more: str) -> int:
    return main(
        [
            "select",
            "--dataset",
            str(pool),
            "--model",
            "smollm2-135m",
            "--encoder",
            "tfidf",
            "--near-duplicate",
            "0.999",
            *more,
        ]
    )


def test_every_row_has_one_fate_and_the_picks_keep_every_bound(pool: Path, tmp_path: Path) -> None:
    assert run(pool, "--k", "60", "--holdout", "40", "--max-tokens", "64", "--out", str(tmp_path / "s")) == 0
    selection = read_selection(tmp_path / "s")
    decisions = pyarrow.parquet.read_table(tmp_path / "s" / "decisions.parquet").to_pylist()
    assert [d["row_index"] for d in decisions] == list(range(483))
    assert [d["fate"] for d in decisions[-3:]] == ["excluded"] * 3
    assert [d["reason"] for d in decisions[-3:]] == ["duplicate", "empty_output", "too_long"]
    fates = [d["fate"] for d in decisions]
    assert (fates.count("selected"), fates.count("held_out")) == (60, 40)
    assert max(row.token_count for row in selection.selected) <= 64
    assert {row.row_id for row in selection.selected}.isdisjoint(row.row_id for row in selection.holdout)
    assert selection.manifest.counts["pool"] == 483


def test_picks_do_not_depend_on_row_order_or_the_cache_and_files_repeat_to_the_byte(
    pool: Path, tmp_path: Path, own_home: Path
) -> None:
    assert run(pool, "--k", "50", "--out", str(tmp_path / "a")) == 0
    assert run(pool, "--k", "50", "--out", str(tmp_path / "warm")) == 0
    shuffled = rows()
    random.Random(3).shuffle(shuffled)
    pool.write_text("".join(json.dumps(row) + "\n" for row in shuffled))
    assert run(pool, "--k", "50", "--out", str(tmp_path / "b")) == 0
    for name in ("selected.jsonl", "holdout.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for name in ("selected.jsonl", "holdout.jsonl", "decisions.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "warm" / name).read_bytes()


def test_the_holdout_is_shared_by_every_strategy_bound_k_and_seed(pool: Path, tmp_path: Path) -> None:
    digests = set()
    for number, more in enumerate(
        (["--strategy", "random"], ["--k", "9", "--seed", "5"], ["--max-tokens", "30", "--k", "20"])
    ):
        assert run(pool, "--k", "30", *more, "--out", str(tmp_path / str(number))) == 0
        digests.add(read_selection(tmp_path / str(number)).holdout_digest)
    assert len(digests) == 1


def test_the_same_inputs_again_are_reused_and_other_ones_in_the_same_place_are_an_error(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, "--k", "30") == 0
    first = capsys.readouterr().out.strip()
    made = json.loads((Path(first) / "manifest.json").read_text())["created_at"]
    assert run(pool, "--k", "30") == 0
    assert capsys.readouterr().out.strip() == first
    assert json.loads((Path(first) / "manifest.json").read_text())["created_at"] == made
    assert run(pool, "--k", "31", "--out", first) == 1
    assert "holds another selection" in capsys.readouterr().err


def test_the_same_rows_in_another_order_are_another_selection(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    firsts = []
    for order in (1, -1):
        pool.write_text("".join(json.dumps(row) + "\n" for row in rows()[::order]))
        assert run(pool, "--k", "3", "--strategy", "first", "--holdout", "0") == 0
        picked = read_selection(capsys.readouterr().out.strip()).selected
        firsts.append([row.instruction for row in picked])
    assert firsts[0] == [row["instruction"] for row in rows()[:3]]
    assert "split a thread in SQL" in firsts[1] and not set(firsts[0]) & set(firsts[1])


def test_datasets_loads_the_folder_with_splits_train_and_test_and_train_alone_without_a_holdout(
    pool: Path, tmp_path: Path
) -> None:
    import datasets

    assert run(pool, "--k", "30", "--holdout", "20", "--out", str(tmp_path / "s")) == 0
    loaded = datasets.load_dataset(str(tmp_path / "s"), cache_dir=str(tmp_path / "c"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 30, "test": 20}
    assert loaded["train"].column_names == ["row_id", "instruction", "output", "source", "token_count"]
    counted_with = ["--model", "me/mine", "--tokenizer", "smollm2-135m"]
    assert run(pool, "--k", "30", "--holdout", "0", *counted_with, "--out", str(tmp_path / "all")) == 0
    loaded = datasets.load_dataset(str(tmp_path / "all"), cache_dir=str(tmp_path / "c"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 30}
    assert "Tokens are those of `smollm2-135m` over" in (tmp_path / "all" / "README.md").read_text()


def test_a_token_budget_is_met_within_a_thousandth_and_never_exceeded(pool: Path, tmp_path: Path) -> None:
    assert run(pool, "--token-budget", "4000", "--strategy", "random", "--out", str(tmp_path / "s")) == 0
    total = sum(row.token_count for row in read_selection(tmp_path / "s").selected)
    assert 3996 <= total <= 4000


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--k", "470"], 1, "--k 470 is more than the"),
        (["--k", "0"], 2, "--k is 0; it must be at least 1"),
        (["--strategy", "kmean"], 2, 'Unknown strategy "kmean". Did you mean "kmeans"?'),
        (["--min-tokens", "9", "--max-tokens", "8"], 2, "--min-tokens 9 is above --max-tokens 8"),
        (["--dataset", "nowhere.jsonl"], 1, "nowhere.jsonl does not exist"),
        (["--columns", "instruction=ask,output=output"], 1, 'has no column "ask". Its columns: instruction, output.'),
        (["--prompt-template", "none.txt"], 1, "The file none.txt of --prompt-template does not exist. Check"),
        (["--near-duplicate", "1.5"], 2, "--near-duplicate is 1.5; allowed: above 0, up to 1"),
        (["--no-such"], 2, "No such option"),
        (["--clean", "parsed"], 2, 'Unknown check "parsed" in --clean. Did you mean "parse"?'),
        (["--decontaminate", "none.jsonl"], 1, "The file none.jsonl of --decontaminate does not exist"),
        (["--decontaminate", "."], 1, "The file . of --decontaminate is a folder."),
    ],
)
def test_bad_input_is_one_line_with_the_next_step_and_leaves_nothing(
    pool: Path, own_home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    assert run(pool, "--k", "30", *arguments) == code
    assert sentence in capsys.readouterr().err
    assert not (own_home / "selections").exists()


def test_k_larger_than_the_candidates_says_which_bound_removed_how_many(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, "--k", "400", "--max-tokens", "20") == 1
    error = capsys.readouterr().err
    assert "of 483 rows (48 held out; excluded: too_long" in error


def test_a_token_budget_without_candidates_is_told_as_such(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pool, "--token-budget", "400", "--max-tokens", "2") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --token-budget 400 cannot be spent on the 0 candidates left of 483 rows (48")
    assert error.endswith("Name a larger --dataset; a larger --max-tokens takes longer rows.\n")


def test_a_damaged_cache_is_computed_again_and_said(
    pool: Path, tmp_path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, "--k", "30", "--out", str(tmp_path / "a")) == 0
    (cached,) = (own_home / "cache" / "embeddings").glob("*.npy")
    cached.write_bytes(cached.read_bytes()[:500])
    assert run(pool, "--k", "30", "--out", str(tmp_path / "b")) == 0
    assert "were damaged; computing them again" in capsys.readouterr().err
    assert (tmp_path / "a" / "decisions.parquet").read_bytes() == (tmp_path / "b" / "decisions.parquet").read_bytes()


def story(capsys: pytest.CaptureFixture[str], folder: Path, row: int) -> dict[str, object]:
    capsys.readouterr()
    assert main(["inspect", str(folder), "--row", str(row), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["rows"]
    return dict(told)


def test_inspect_tells_why_a_row_was_dropped_and_its_nearest_pick(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, "--k", "30", "--out", str(tmp_path / "s")) == 0
    picks = {row.row_id for row in read_selection(tmp_path / "s").selected}
    told = story(capsys, tmp_path / "s", 482)
    assert (told["decision"]["fate"], told["decision"]["reason"]) == ("excluded", "too_long")  # type: ignore[index]
    assert (told["instruction"], told["nearest_pick"] in picks) == ("long", True)
    assert main(["inspect", str(tmp_path / "s"), "--row", "482"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("  excluded: too_long, ") and lines[2] == "  asks: long"
    assert lines[4] == f"  nearest pick: {told['nearest_pick']}, cosine {told['nearest_cosine']:.4f}"


def test_inspect_prints_the_folder_it_explains_and_the_counts_beside_it(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, "--k", "30") == 0
    made = capsys.readouterr().out
    assert main(["inspect"]) == 0
    printed = capsys.readouterr()
    assert printed.out == made
    told = {" ".join(line.split()) for line in printed.err.splitlines()}
    tokens = sorted(row.token_count for row in read_selection(None).selected)
    assert {"pool 483", "selected 30", "excluded: too_long 1", "source rows.jsonl 30"} <= told
    assert f"tokens {tokens[0]} to {tokens[-1]}, median {tokens[15]}" in told


def test_inspect_finds_the_nearest_pick_of_a_pick_among_the_others(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    from curate.vectors.embedding import cached_vectors

    assert run(pool, "--k", "30", "--out", str(tmp_path / "s")) == 0
    selection = read_selection(tmp_path / "s")
    decisions = pyarrow.parquet.read_table(tmp_path / "s" / "decisions.parquet").to_pylist()
    embedded = sorted(d["row_id"] for d in decisions if d["x"] is not None)
    vectors = cached_vectors(selection.manifest.config["encoder_digest"], "instruction", embedded)
    assert vectors is not None
    picks = [row.row_id for row in selection.selected]
    place = next(d["row_index"] for d in decisions if d["row_id"] == picks[4])
    cosines = vectors[[embedded.index(row_id) for row_id in picks]] @ vectors[embedded.index(picks[4])]
    cosines[4] = -1
    told = story(capsys, tmp_path / "s", place)
    assert (told["nearest_pick"], told["nearest_cosine"]) == (
        picks[int(np.argmax(cosines))], round(float(cosines.max()), 4),
    )  # fmt: skip


def test_inspect_says_why_a_nearest_pick_is_not_known(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, "--k", "30", "--out", str(tmp_path / "s")) == 0
    told = story(capsys, tmp_path / "s", 481)
    assert (told["nearest_pick"], told["why_unknown"]) == (
        None, "It was not embedded (empty_output), and tfidf embeds whole pools only.",
    )  # fmt: skip
    assert main(["clean-cache", "--yes"]) == 0
    told = story(capsys, tmp_path / "s", 482)
    assert str(told["why_unknown"]).startswith("The vectors of this selection are no longer in the cache.")


def test_inspect_does_not_take_another_row_for_the_one_asked_about_when_the_pool_was_shuffled_since(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, "--k", "30", "--out", str(tmp_path / "s")) == 0
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows()[::-1]))
    assert story(capsys, tmp_path / "s", 482)["instruction"] is None
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows()[:-1]))
    assert story(capsys, tmp_path / "s", 482)["instruction"] is None


def test_clean_cache_shows_what_there_is_and_frees_it_when_told(
    pool: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, "--k", "30") == 0
    n_bytes = sum(path.stat().st_size for path in (own_home / "cache").rglob("*") if path.is_file())
    capsys.readouterr()
    assert main(["clean-cache", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert sum(part["bytes"] for part in parts) == n_bytes > 0
    assert main(["clean-cache", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freed_bytes"] == n_bytes
    assert main(["clean-cache"]) == 0
    assert capsys.readouterr().out == "The cache is empty.\n"
    assert (own_home / "selections").exists()


MESSY = [
    {"instruction": "Write a Python function that weighs.", "output": "```python\ndef weigh(x:\n    return x\n```"},
    {"instruction": "Write a Python function that braids.", "output": "```java\nclass A { int x = 1; }\n```"},
    {"instruction": "Write a poem on sockets.", "output": "I'm sorry, but I cannot help with that request."},
    {
        "instruction": "Double it, please.",
        "output": "def double_every(items):\n    return [2 * item for item in items]",
    },
]
BENCHMARK = {
    "task_id": 1, "text": "Double every item of a list.", "test_list": [],
    "code": "def double_every(items):\n  return [2*item for item in items]",
}  # fmt: skip


def test_every_check_has_its_reason_code_and_a_switch_and_leaks_name_their_task(pool: Path, tmp_path: Path) -> None:
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows() + MESSY))
    (tmp_path / "mbpp.jsonl").write_text(json.dumps(BENCHMARK))
    decided = {}
    for name, more in (
        ("default", ["--decontaminate", str(tmp_path / "mbpp.jsonl")]),
        ("one", ["--clean", "duplicates,refusals"]),
        ("none", ["--clean", "none"]),
    ):
        assert (
            run(pool, "--k", "30", "--strategy", "random", "--holdout", "1", *more, "--out", str(tmp_path / name)) == 0
        )
        table = pyarrow.parquet.read_table(tmp_path / name / "decisions.parquet").to_pylist()
        reasons = [d["reason"] if d["fate"] == "excluded" else None for d in table]
        decided[name] = reasons[480:482] + reasons[483:]
        if name == "default":
            assert table[-1]["detail"] == "MBPP/1: 100% of its solution"
    assert decided == {
        "default": ["duplicate", "empty_output", "does_not_parse", "wrong_language", "refusal", "leaks_benchmark"],
        "one": ["duplicate", None, None, None, "refusal", None],
        "none": [None, None, None, None, None, None],
    }
    manifest = read_selection(tmp_path / "default").manifest
    assert manifest.config["clean"] == ["empty", "duplicates", "refusals", "language", "parse", "near-duplicates"]
    assert [record.file for record in manifest.inputs] == ["rows.jsonl", "mbpp.jsonl"]
    assert read_selection(tmp_path / "one").manifest.config["clean"] == ["duplicates", "refusals"]


def test_the_holdout_is_the_same_whatever_is_cleaned_and_never_repeated_among_the_candidates(
    pool: Path, tmp_path: Path
) -> None:
    digests = set()
    for number, more in enumerate((["--clean", "all"], ["--clean", "none"], ["--clean", "parse"])):
        assert run(pool, "--k", "30", *more, "--out", str(tmp_path / str(number))) == 0
        selection = read_selection(tmp_path / str(number))
        digests.add(selection.holdout_digest)
        assert {row.row_id for row in selection.selected}.isdisjoint(row.row_id for row in selection.holdout)
    assert len(digests) == 1


def test_rows_outside_the_token_bounds_are_excluded_with_their_count_and_the_bound(pool: Path, tmp_path: Path) -> None:
    bounds = ["--min-tokens", "17", "--max-tokens", "64"]
    assert run(pool, "--k", "30", *bounds, "--holdout", "0", "--clean", "none", "--out", str(tmp_path / "s")) == 0
    for d in pyarrow.parquet.read_table(tmp_path / "s" / "decisions.parquet").to_pylist():
        n = d["token_count"]
        if n < 17 or n > 64:
            expected = ("too_short", f"{n} tokens, bound 17") if n < 17 else ("too_long", f"{n} tokens, bound 64")
            assert (d["reason"], d["detail"]) == expected
        else:
            assert d["fate"] in ("selected", "not_picked") or d["reason"] == "near_duplicate"


def test_copies_of_a_held_out_row_are_excluded_even_where_exact_duplicates_may_stay(pool: Path, tmp_path: Path) -> None:
    copies = [{"instruction": row["instruction"] + " ", "output": row["output"]} for row in rows()[:480]]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows()[:480] + copies))
    assert run(pool, "--k", "30", "--clean", "none", "--holdout", "20", "--out", str(tmp_path / "s")) == 0
    decisions = pyarrow.parquet.read_table(tmp_path / "s" / "decisions.parquet").to_pylist()
    held_out = {d["row_index"] for d in decisions if d["fate"] == "held_out"}
    copied = [d["row_index"] for d in decisions if (d["reason"], d["detail"]) == ("duplicate", "of a held-out row")]
    assert len(held_out) == 20
    assert sorted(copied) == sorted((i + 480) % 960 for i in held_out)


def test_strategies_of_one_seed_draw_independently_of_each_other(pool: Path, tmp_path: Path) -> None:
    picked = []
    for strategy in ("random", "kmeans", "length-matched"):
        assert run(pool, "--k", "60", "--strategy", strategy, "--out", str(tmp_path / strategy)) == 0
        picked.append({row.row_id for row in read_selection(tmp_path / strategy).selected})
    # 60 of some 430 rows twice, independently: 8 in common on average, standard deviation 2.5.
    assert max(len(a & b) for a, b in itertools.combinations(picked, 2)) < 20


def test_coordinated_strategies_of_one_seed_share_picks_and_the_manifest_says_so(pool: Path, tmp_path: Path) -> None:
    picked = []
    for strategy, seed in (("random", "0"), ("kmeans", "0"), ("random", "1")):
        out = tmp_path / f"{strategy}{seed}"
        more = ("--strategy", strategy, "--seed", seed, "--coordinated", "--out", str(out))
        assert run(pool, "--k", "60", *more) == 0
        picked.append({row.row_id for row in read_selection(out).selected})
    assert read_selection(out).manifest.config["coordinated"] is True
    assert len(picked[0] & picked[1]) > 30 > 20 > len(picked[0] & picked[2])
