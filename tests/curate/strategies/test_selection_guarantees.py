"""The recipe from pool to fates, on thousands of generated pools: bounds, holdout, fates, and any order of the rows."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.config import MADE_BEFORE, SelectConfig
from curate.errors import UserError
from curate.pipeline import bound, cluster, drop_near_holdout, hold_out, pick, select
from curate.pool.rows import Row, build_row
from curate.selection.choosing import choose
from curate.selection.record import read_selection
from curate.selection.steps import Picked, Pool, Prepared, Vectors
from curate.sources.types import LoadedPool
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates
from curate.tokens.prompt import RAW
from curate.vectors import neighbours
from curate.vectors.clustering import build_clusters

PLAIN = [
    name for name, entry in STRATEGIES.items() if not entry.needs & {"scores", "target", "target_words", *MADE_BEFORE}
]
pytestmark = pytest.mark.pools
CASES = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small pools need not outlive a power cut."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def vector_of(row: Row, kinds: int) -> Any:
    """A vector that depends on the row's text alone: one of `kinds` directions, and a little of its own."""
    rng = np.random.default_rng(int(row.row_id, 16))
    direction = np.random.default_rng(rng.integers(kinds)).standard_normal(5)
    vector = direction / np.linalg.norm(direction) + rng.choice([0.0, 0.02, 0.3]) * rng.standard_normal(5)
    return vector / np.linalg.norm(vector)


def run_recipe(config: SelectConfig, pairs: Sequence[tuple[str, str]], kinds: int) -> tuple[Prepared, Picked]:
    """Every step of the recipe from the holdout to the picks, with made-up vectors and one token a character."""
    rows = [build_row(i, instruction, output, "made up") for i, (instruction, output) in enumerate(pairs)]
    counts = np.array([len(row.instruction) + len(row.output) for row in rows], dtype=np.int32)
    loaded = LoadedPool(rows, "made up", None, "digest", [])
    pool = Pool(config, loaded, RAW, "tokenizer", counts)
    split = bound(pool, hold_out(pool))
    kinds_of = map(split.fates.kind_of, range(len(rows)))
    kept = [i for i, (fate, reason) in enumerate(kinds_of) if fate in (None, "held_out") or reason == "too_long"]
    kept.sort(key=lambda i: (rows[i].row_id, i))
    matrix = np.array([vector_of(rows[i], kinds) for i in kept], dtype=np.float32).reshape(-1, 5)
    vectors = Vectors(np.array(kept, dtype=np.int64), matrix, "made up")
    split = drop_near_holdout(pool, split, vectors)
    if not split.fates.open_rows():
        raise UserError("nothing is left")
    prepared = cluster(pool, split, vectors)
    return prepared, pick(prepared)


@pytest.mark.parametrize("strategy", PLAIN)
@CASES
@given(data=st.data())
def test_every_row_has_one_fate_every_pick_keeps_the_bounds_and_the_order_of_the_pool_decides_nothing(
    strategy: str, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    pairs = [
        (f"do {rng.integers(n)} " + "x" * int(rng.integers(30)), " " * 2 if rng.random() < 0.05 else f"ok {i % 29}")
        for i in range(n)
    ]
    config = SelectConfig(
        strategy=strategy,
        strategy_options={"steps": 10} if "steps" in STRATEGIES[strategy].options else {},
        k=data.draw(st.integers(1, max(1, n // 3))),
        token_budget=data.draw(st.none() | st.integers(10, 400)),
        max_tokens=data.draw(st.sampled_from([25, 100])),
        holdout=data.draw(st.integers(0, 3)),
        near_duplicate=data.draw(st.sampled_from([0.9, 0.999, 1.0])),
        clusters=data.draw(st.none() | st.integers(1, 4)),
        seed=data.draw(st.integers(0, 3)),
    )
    kinds = data.draw(st.integers(1, 12))
    shuffled = [pairs[i] for i in rng.permutation(n)]
    try:
        prepared, picked = run_recipe(config, pairs, kinds)
    except UserError as error:
        if strategy != "first":
            with pytest.raises(UserError, match=re.escape(str(error))):
                run_recipe(config, shuffled, kinds)
        return
    fates = [picked.fates.kind_of(i)[0] for i in range(n)]
    assert len(picked.fates.codes) == n and None not in fates
    assert fates.count("selected") == len(picked.rows)
    tokens = prepared.pool.token_counts[list(picked.rows)]
    assert int(tokens.sum()) <= config.token_budget if config.token_budget else len(picked.rows) == config.k
    assert tokens.max() <= config.max_tokens
    places = prepared.vectors.places([*picked.rows, *prepared.split.held_out])
    kept = prepared.vectors.matrix.astype(np.float64)[places]
    cosine = kept[: len(picked.rows)] @ kept.T
    np.fill_diagonal(cosine, -1)
    assert cosine.max(initial=-1) < config.near_duplicate
    if strategy != "first":
        again, picked_again = run_recipe(config, shuffled, kinds)
        ids = [prepared.pool.rows[i].row_id for i in picked.rows]
        assert [again.pool.rows[i].row_id for i in picked_again.rows] == ids


def big_pool() -> Candidates:
    """3,000 rows about 40 directions, enough for several blocks in every strategy."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((40, 24))[rng.integers(40, size=3000)] + 0.7 * rng.standard_normal((3000, 24))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    labels, centres = build_clusters(vectors, 12, np.random.default_rng(0))
    return Candidates(
        vectors, labels, centres, *(rng.integers(5, 300, size=3000).astype(np.int32) for _ in range(3)),
        rng.permutation(3000),
        {"ifd": rng.random(3000) * 1.2, "perplexity": rng.lognormal(size=3000), "target_words": rng.random(3000),
         "influence": rng.standard_normal(3000), "well_formed": rng.random(3000),
         "stratum": np.arange(3000) % 3.0, "stratum_share": np.array([0.5, 0.4, 0.1])[np.arange(3000) % 3],
         "draw_place": rng.permutation(3000) + 0.0},
        vectors[:7],
    )  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_picks_do_not_depend_on_the_number_of_threads(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from threadpoolctl import threadpool_limits

    pool = big_pool()
    monkeypatch.setattr(neighbours, "_BLOCK", 256)
    monkeypatch.setattr(neighbours, "_OTHERS", 64)
    config = SelectConfig(strategy=strategy, k=150, near_duplicate=0.9)
    made = []
    for threads, budget in itertools.product((1, 3), (None, 9_000)):
        monkeypatch.setattr("os.sched_getaffinity", lambda process, threads=threads: range(threads))
        with threadpool_limits(threads):
            picks = choose(config.model_copy(update={"token_budget": budget}), pool)
        made.append((picks.indices.tolist(), picks.reasons, picks.near_duplicates))
    assert made[0] == made[2]
    assert made[1] == made[3]
    assert len(made[0][0]) == 150


def test_clusters_do_not_depend_on_the_number_of_threads() -> None:
    from threadpoolctl import threadpool_limits

    vectors = big_pool().embeddings
    with threadpool_limits(1):
        one = build_clusters(vectors, 30, np.random.default_rng(0))
    with threadpool_limits(4):
        four = build_clusters(vectors, 30, np.random.default_rng(0))
    assert (one[0] == four[0]).all() and (one[1] == four[1]).all()


@pytest.mark.long
def test_rows_given_as_several_files_give_the_same_picks(tmp_path: Path) -> None:
    lines = [json.dumps({"instruction": f"write {i} of {i % 9}", "output": f"answer {i} " * 3}) for i in range(90)]
    (tmp_path / "whole.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "parts").mkdir()
    for part in range(4):
        (tmp_path / "parts" / f"{part}.jsonl").write_text("\n".join(lines[part::4]) + "\n")
    for name in ("whole.jsonl", "parts"):
        config = SelectConfig(
            dataset=str(tmp_path / name), model="smollm2-135m", encoder="tfidf", strategy="facility-location", k=20,
            near_duplicate=0.999, clean=("empty", "duplicates"),
        )  # fmt: skip
        select(config, tmp_path / f"s-{name}")
    one, several = (read_selection(tmp_path / f"s-{name}") for name in ("whole.jsonl", "parts"))
    assert [row.row_id for row in one.selected] == [row.row_id for row in several.selected]
    assert one.holdout_digest == several.holdout_digest
