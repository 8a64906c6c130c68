"""What strategies know of rows beside vectors: the target's words, the answer's form; no held-out row is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.cli import main
from curate.pool.rows import Row, build_row
from curate.scores import content, form
from curate.scores.form import well_formed
from curate.scores.target_words import word_odds
from curate.selection.record import read_selection
from curate.strategies.weighted import normal_scores, ranks
from tests.curate.test_pipeline import rows

SELECT = [
    "--tokenizer",
    "smollm2-135m",
    "--encoder",
    "tfidf",
    "--near-duplicate",
    "0.999",
    "--clean",
    "empty,duplicates",
]
NEEDS = {
    "random": (),
    "target-words": ("--target",),
    "target-importance": ("--target",),
    "well-formed": (),
    "short-rows": (),
}


def written(path: Path, lines: Sequence[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "home"))
    return written(tmp_path / "rows.jsonl", rows())


def select(pool: str, out: Path, *more: str) -> Any:
    assert main(["select", "--dataset", pool, *SELECT, "--k", "60", "--out", str(out), *more]) == 0
    return read_selection(out)


@pytest.mark.parametrize("with_outputs", [True, False])
def test_a_few_target_rows_or_their_instructions_alone_find_the_rows_of_their_kind(
    pool: str, tmp_path: Path, with_outputs: bool
) -> None:
    wanted = [
        {"instruction": f"{verb} a heap in Rust", "output": f"{verb}() -- Rust"} for verb in ("add", "drop", "pop")
    ]
    lines = wanted if with_outputs else [{"instruction": line["instruction"]} for line in wanted]
    target = written(tmp_path / "target.jsonl", lines)
    made = select(pool, tmp_path / "s", "--strategy", "target-words", "--target", target)
    told = [note for note in made.manifest.config["notes"] if "instructions alone" in note]
    assert len(told) == (0 if with_outputs else 1)
    assert with_outputs or "instructions alone, no outputs" in (made.path / "report.html").read_text()
    picked = made.selected
    assert len(picked) == 60
    assert all("Rust" in row.instruction for row in picked)


def test_importance_draws_rows_like_the_target_more_often_and_a_coordinated_draw_without_weights_is_random(
    pool: str, tmp_path: Path
) -> None:
    target = written(tmp_path / "target.jsonl", [{"instruction": "pop a heap in Rust", "output": "pop() -- Rust"}])
    drawn = ["--strategy", "target-importance", "--target", target, "--coordinated"]
    picked = select(pool, tmp_path / "a", *drawn, "--strategy-option", "sharpness=4").selected
    assert sum("Rust" in row.instruction for row in picked) > 30  # a quarter of the pool
    flat = select(pool, tmp_path / "b", *drawn, "--strategy-option", "sharpness=0").selected
    assert flat == select(pool, tmp_path / "c", "--strategy", "random", "--coordinated").selected


def test_a_target_of_held_out_rows_alone_is_refused_and_one_of_them_among_others_is_not_read(
    pool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = read_selection(select(pool, tmp_path / "s", "--strategy", "random").path).holdout
    lines = [{"instruction": row.instruction, "output": row.output} for row in held[:3]]
    target = written(tmp_path / "t.jsonl", lines)
    command = ["select", "--dataset", pool, *SELECT, "--k", "60", "--strategy", "target-words", "--target", target]
    assert main(command) == 1
    assert "Every row of --target is held out" in capsys.readouterr().err


@pytest.mark.parametrize("strategy", NEEDS)
def test_no_selector_reads_a_marked_held_out_row(
    pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """Every held-out row carries a marker; nothing that is handed to a selector or a score may show it."""
    held = {row.row_id for row in select(pool, tmp_path / "first", "--strategy", "random").holdout}
    assert len(held) == 48
    read: list[str] = []
    chosen: list[np.ndarray[Any, Any]] = []

    def reading(score: Any) -> Any:
        def watched(rows: Sequence[Row], *more: Any) -> Any:
            read.extend(row.row_id for row in rows)
            return score(rows, *more)

        return watched

    monkeypatch.setattr(content, "word_odds", reading(word_odds))
    monkeypatch.setattr(content, "well_formed", reading(form.well_formed))
    import curate.pipeline as pipeline

    choose = pipeline.choose
    monkeypatch.setattr(
        pipeline,
        "choose",
        lambda config, candidates: (chosen.append(candidates.row_index), choose(config, candidates))[1],
    )
    target = written(tmp_path / "t.jsonl", [{"instruction": "pop a heap in Rust", "output": "pop() -- Rust"}])
    more = [word for option in NEEDS[strategy] for word in (option, target)]
    made = select(pool, tmp_path / "s", "--strategy", strategy, *more)
    ids = [build_row(0, line["instruction"], line["output"], "").row_id for line in rows()]
    assert {row.row_id for row in made.holdout} == held
    assert not held & set(read)
    assert not held & {ids[i] for i in chosen[0]}
    assert len(chosen[0]) == 480 - 48
    assert bool(read) == (strategy not in ("random", "short-rows"))


def test_the_form_of_an_answer_counts_what_a_user_would_have_to_mend() -> None:
    asked = "Write a Python function that adds two numbers."
    answers = {
        "def add(a, b):\n    return a + b\n": 1.0,
        "def add(a, b):\n    return (a + b\n": 0.5,  # does not parse, and its bracket is open
        "def add(a, b):\n    return a + b\n\nThis function returns the sum of its two arguments.\n": 0.75,
        "It takes two numbers and gives back the sum of them.": 0.75,  # no code, where a language is named
    }
    made = [build_row(i, asked, output, "") for i, output in enumerate(answers)]
    assert well_formed(made).tolist() == list(answers.values())


def test_ranks_share_ties_and_count_what_is_not_known_as_least() -> None:
    values = np.array([3.0, np.nan, 1.0, 3.0, 8.0])
    assert ranks(values).tolist() == [0.25, -1.0, -0.5, 0.25, 1.0]
    scores = normal_scores(np.arange(9.0))
    assert scores.tolist() == pytest.approx((-scores[::-1]).tolist()) and scores[8] == pytest.approx(1.593, abs=1e-3)
