"""Greedy strategies on more rows than are picked from at once: parts first, then the union of their picks."""

from __future__ import annotations

import numpy as np
import pytest

from curate.config import SelectConfig
from curate.selection.choosing import choose
from curate.strategies import parts
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates
from curate.vectors.clustering import build_clusters


def candidates(n: int) -> Candidates:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((40, 24))[rng.integers(40, size=n)] + 0.7 * rng.standard_normal((n, 24))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[1::50] = vectors[::50]
    labels, centres = build_clusters(vectors, 12, np.random.default_rng(0))
    scores = {"ifd": rng.random(n), "perplexity": rng.lognormal(size=n)}
    counts = [rng.integers(5, 300, size=n).astype(np.int32) for _ in range(3)]
    return Candidates(vectors, labels, centres, *counts, np.arange(n), scores)


@pytest.mark.parametrize("strategy", [name for name, entry in STRATEGIES.own.items() if entry.by_parts])
def test_beyond_the_size_the_picks_are_k_of_the_parts_picks_and_a_note_says_so(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, config = candidates(3_000), SelectConfig(strategy=strategy, k=40, near_duplicate=0.99)
    at_once = choose(config, pool)
    monkeypatch.setattr("curate.selection.choosing.WHOLE_ROWS", 1_000)
    monkeypatch.setattr(parts, "PART_ROWS", 500)
    by_parts = choose(config, pool)
    assert len(set(by_parts.indices.tolist())) == 40
    assert "picked from 6 parts" in by_parts.notes[-1]
    assert STRATEGIES[strategy].by_parts in by_parts.notes[-1]
    assert not any("parts" in note for note in at_once.notes)
    cosine = pool.embeddings @ pool.embeddings.T
    for row, (kept, value) in by_parts.near_duplicates.items():
        assert kept in by_parts.indices and value == pytest.approx(cosine[row, kept], abs=1e-4)


def test_k_center_by_parts_is_within_twice_the_reach_of_k_center_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, config = candidates(3_000), SelectConfig(strategy="kcenter", k=60)
    reach = []
    for rows in (10_000, 500):
        monkeypatch.setattr(parts, "PART_ROWS", rows)
        monkeypatch.setattr("curate.selection.choosing.WHOLE_ROWS", 2 * rows)
        picks = choose(config, pool).indices
        reach.append(np.arccos(np.clip((pool.embeddings @ pool.embeddings[picks].T).max(axis=1).min(), -1, 1)))
    assert reach[1] < 2 * reach[0]
