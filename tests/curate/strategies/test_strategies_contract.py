"""What every strategy in the table keeps, on thousands of generated pools: small, odd, repeated, clustered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import UserError
from curate.strategies.budget import BUDGET_TOLERANCE, pick_rows, pick_tokens
from curate.strategies.caps import Cap
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates, Picks
from curate.vectors.neighbours import one_thread_a_product

pytestmark = pytest.mark.pools
CASES = settings(deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def pools(draw: st.DrawFn) -> Candidates:
    """Up to 40 unit rows in up to 6 dimensions, many of them equal or nearly so, in up to 5 clusters."""
    n = draw(st.integers(1, 40))
    kinds = draw(st.integers(1, n))
    d = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = draw(st.sampled_from([0.0, 1e-7, 0.05, 0.5]))
    vectors = rng.standard_normal((kinds, d))[rng.integers(kinds, size=n)] + noise * rng.standard_normal((n, d))
    n_clusters = draw(st.integers(1, 5))
    target = rng.standard_normal((draw(st.integers(1, 4)), d))
    return Candidates(
        embeddings=unit(vectors),
        labels=rng.integers(n_clusters, size=n).astype(np.int32),
        centres=unit(rng.standard_normal((n_clusters, d)) + 1e-3),
        token_counts=rng.integers(1, draw(st.sampled_from([2, 30, 2000])), size=n).astype(np.int32),
        prompt_chars=rng.integers(1, 50, size=n).astype(np.int32),
        output_chars=rng.integers(1, 50, size=n).astype(np.int32),
        row_index=rng.permutation(n).astype(np.int64),
        scores={
            "ifd": rng.choice([0.2, 0.7, 0.9, 1.4], size=n),
            "perplexity": rng.lognormal(2, 1, size=n),
            "target_words": rng.choice([-3.0, 0.0, 2.5], size=n),
            "influence": rng.choice([-1.0, 0.0, 4.0, np.nan], size=n),
            "well_formed": rng.choice([0.5, 0.75, 1.0], size=n),
            "stratum": (strata := rng.choice([-1.0, 0.0, 1.0, 2.0], size=n)),
            "stratum_share": np.array([0.7, 0.3, 0.0, 0.0])[strata.astype(int)],
            "draw_place": rng.choice([0.0, 1.0, 2.0, np.nan], size=n),
        },
        target=unit(target),
    )


def unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def bound(strategy: str) -> Any:
    return STRATEGIES[strategy].bind({"steps": 10} if "steps" in STRATEGIES[strategy].options else {})


def is_valid(picks: Picks, pool: Candidates, near_duplicate: float) -> None:
    indices = picks.indices.tolist()
    assert len(set(indices)) == len(indices) == len(picks.reasons)
    assert all(0 <= i < len(pool) for i in indices)
    assert all(isinstance(reason, str) and reason for reason in picks.reasons)
    cosine = pool.embeddings[indices].astype(np.float64) @ pool.embeddings[indices].T.astype(np.float64)
    np.fill_diagonal(cosine, -1)
    assert cosine.max(initial=-1) < near_duplicate
    assert set(picks.near_duplicates).isdisjoint(indices)
    unpicked = [i for i in range(len(pool)) if i not in set(indices)]
    near = pool.embeddings[unpicked].astype(np.float64) @ pool.embeddings[indices].T.astype(np.float64)
    for row, cosines in zip(unpicked, near, strict=True):
        if row in picks.near_duplicates:
            pick, said = picks.near_duplicates[row]
            assert pick in indices
            assert said == pytest.approx(float(cosines[indices.index(pick)]), abs=2e-5)
            assert said >= near_duplicate
        else:
            assert cosines.max(initial=-1) < near_duplicate


@pytest.mark.parametrize("strategy", STRATEGIES)
@CASES
@given(data=st.data(), pool=pools())
def test_exactly_k_distinct_rows_or_an_error_that_says_how_many_there_are(
    strategy: str, data: st.DataObject, pool: Candidates
) -> None:
    k = data.draw(st.one_of(st.integers(1, len(pool)), st.just(1), st.just(len(pool))))
    near_duplicate = data.draw(st.sampled_from([0.5, 0.95, 0.99995, 1.0]))
    seed = data.draw(st.integers(0, 9))
    try:
        picks = pick_rows(bound(strategy), pool, k, np.random.default_rng(seed), near_duplicate)
    except UserError as error:
        found = int(error.what.split("more than the ")[1].split()[0])
        assert error.what.startswith(f"--k {k} is more than the {found} candidates found")
        near = pool.embeddings @ pool.embeddings.T >= near_duplicate - 5e-6
        assert 1 <= found < k
        if ((near.astype(int) @ near > 0) == near).all():  # where being near is transitive, there are no more
            assert found == len(np.unique(near, axis=0))
        return
    assert len(picks.indices) == k
    is_valid(picks, pool, near_duplicate)


@pytest.mark.parametrize("strategy", STRATEGIES)
@CASES
@given(data=st.data(), pool=pools())
def test_a_token_budget_is_never_exceeded_and_a_miss_is_said_to_the_token(
    strategy: str, data: st.DataObject, pool: Candidates
) -> None:
    budget = data.draw(st.integers(1, int(pool.token_counts.sum()) + 5))
    near_duplicate = data.draw(st.sampled_from([0.95, 1.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    try:
        picks = pick_tokens(bound(strategy), pool, budget, rng, near_duplicate)
    except UserError:
        assert budget < pool.token_counts.min()
        return
    is_valid(picks, pool, near_duplicate)
    left = budget - int(pool.token_counts[picks.indices].sum())
    said = [note for note in picks.notes if "token budget" in note]
    assert left >= 0
    assert bool(said) == (left > BUDGET_TOLERANCE * budget)
    assert not said or f"was missed by {left} tokens" in said[0]
    free = np.ones(len(pool), dtype=bool)
    free[picks.indices] = False
    free[list(picks.near_duplicates)] = False
    assert not said or pool.token_counts[free].min(initial=2**31 - 1) > left


@pytest.mark.parametrize("strategy", STRATEGIES)
@CASES
@given(data=st.data(), pool=pools())
def test_no_value_of_a_column_has_more_of_the_picks_than_its_cap(
    strategy: str, data: st.DataObject, pool: Candidates
) -> None:
    by_tokens = data.draw(st.booleans())
    weights = pool.token_counts if by_tokens else np.ones(len(pool), dtype=np.int64)
    size = data.draw(st.integers(1, int(weights.sum())))
    caps = []
    for name in ("source", "license")[: data.draw(st.integers(1, 2))]:
        values = data.draw(st.integers(1, 4))
        codes = np.array(data.draw(st.lists(st.integers(0, values - 1), min_size=len(pool), max_size=len(pool))))
        caps.append(Cap(name, 0.5, data.draw(st.integers(1, size)), codes, tuple("abcd"[:values])))
    capped, rng = replace(pool, caps=tuple(caps)), np.random.default_rng(data.draw(st.integers(0, 9)))
    pick = pick_tokens if by_tokens else pick_rows
    try:
        picks = pick(bound(strategy), capped, size, rng, 1.0)
    except UserError as error:
        too_small = "below the shortest candidate" if size < weights.min() else "leaves no candidate"
        assert (too_small if by_tokens else "candidates") in error.what
        return
    is_valid(picks, pool, 1.0)
    spent = [np.bincount(cap.codes[picks.indices], weights[picks.indices], len(cap.values)) for cap in caps]
    assert all((of_cap <= cap.most).all() for of_cap, cap in zip(spent, caps, strict=True))
    if not by_tokens:
        assert len(picks.indices) == size
    full = {(cap.name, v) for cap, n in zip(caps, spent, strict=True) for v in np.flatnonzero(n == cap.most)}
    assert len({name for name, _ in full}) <= sum(note.startswith("--cap") for note in picks.notes)


@pytest.mark.parametrize("strategy", STRATEGIES)
@CASES
@given(data=st.data(), pool=pools())
def test_a_strategy_goes_on_from_standing_picks_among_open_rows_only_and_repeats(
    strategy: str, data: st.DataObject, pool: Candidates
) -> None:
    n = len(pool)
    stand = data.draw(st.integers(0, n - 1))
    picked = np.random.default_rng(1).permutation(n)[:stand]
    barred = np.zeros(n, dtype=bool)
    barred[picked] = True
    state = replace(pool, picked=picked, barred=barred)
    k = data.draw(st.integers(1, n - stand))
    with one_thread_a_product():
        first = bound(strategy)(state, k, np.random.default_rng(3))
        again = bound(strategy)(state, k, np.random.default_rng(3))
    assert len(set(first.indices.tolist())) == k == len(first.reasons)
    assert not barred[first.indices].any()
    assert first.indices.tolist() == again.indices.tolist()
    assert first.reasons == again.reasons
    assert (state.barred == barred).all() and barred.sum() == stand
