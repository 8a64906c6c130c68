"""Strategies that follow what was learnt before: weights or shares of strata, a draw that was trained, short rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from curate.strategies.budget import pick_tokens
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates


def pool(n: int = 600, **scores: Any) -> Candidates:
    rng = np.random.default_rng(0)
    return Candidates(
        embeddings=np.eye(n, dtype=np.float32),
        labels=np.zeros(n, dtype=np.int32),
        centres=np.ones((1, n), dtype=np.float32),
        token_counts=rng.integers(20, 60, size=n).astype(np.int32),
        prompt_chars=rng.permutation(n).astype(np.int32),
        output_chars=np.ones(n, dtype=np.int32),
        row_index=np.arange(n),
        scores={name: np.asarray(values, dtype=np.float64) for name, values in scores.items()},
        luck=rng.random(n),
    )


def picked(strategy: str, candidates: Candidates, budget: int, **options: Any) -> list[int]:
    picks = pick_tokens(STRATEGIES[strategy].bind(options), candidates, budget, np.random.default_rng(1), 1.0)
    return picks.indices.tolist()


@pytest.mark.parametrize("budget", [2_000, 8_000])
def test_strata_give_their_shares_of_the_tokens_at_every_budget(budget: int) -> None:
    stratum = np.arange(600) % 3.0
    candidates = pool(stratum=stratum, stratum_share=np.array([0.5, 0.4, 0.1])[stratum.astype(int)])
    rows = np.array(picked("mixture", candidates, budget))
    given = np.bincount(stratum[rows].astype(int), weights=candidates.token_counts[rows]) / budget
    assert given == pytest.approx([0.5, 0.4, 0.1], abs=60 / budget)
    order = STRATEGIES["random"].bind({})(candidates, 600, np.random.default_rng(1)).indices
    alone = [row for row in order.tolist() if stratum[row] == 0]
    assert len(set(alone[:20]) - set(rows.tolist())) <= 1  # coordinated with random; one may be exchanged for a fit


def test_a_stratum_that_runs_out_leaves_its_part_to_the_others_and_rows_kept_apart_come_last() -> None:
    stratum = np.where(np.arange(600) < 5, 0.0, np.where(np.arange(600) < 300, 1.0, -1.0))
    share = np.where(stratum == 0, 0.9, np.where(stratum == 1, 0.1, 0.0))
    candidates = pool(stratum=stratum, stratum_share=share)
    select = STRATEGIES["mixture"].bind({})
    rows = select(candidates, 120, np.random.default_rng(1)).indices
    assert set(range(5)) <= set(rows.tolist()) and rows.max() < 300
    everything = picked("mixture", candidates, 600 * 60)
    assert len(everything) == 600 and set(everything[:300]) == set(range(300))


def test_a_mixture_by_features_draws_more_of_what_has_weight_and_what_has_none_comes_last() -> None:
    log_weight = np.where(np.arange(600) % 3 == 0, np.log(4), np.where(np.arange(600) % 3 == 1, 0.0, np.nan))
    candidates = pool(log_weight=log_weight)
    order = STRATEGIES["mixture"].bind({})(candidates, 600, np.random.default_rng(1))
    kind = order.indices % 3
    assert (kind[:50] == 0).mean() == pytest.approx(0.8, abs=0.06)  # four times as many
    assert set(kind[:400].tolist()) == {0, 1} and set(kind[400:].tolist()) == {2}
    last = candidates.luck[order.indices[400:]]  # type: ignore[index]
    assert last.tolist() == sorted(last.tolist())  # in random's order
    reasons = {0: "drawn with weight 4.00 by its source, ", 1: "drawn with weight 1.00 by its ", 2: "has no weight: "}
    assert all(reason.startswith(reasons[each]) for each, reason in zip(kind.tolist(), order.reasons, strict=True))
    same = picked("mixture", pool(log_weight=np.zeros(600)), 8_000)
    assert same == picked("random", candidates, 8_000)


def test_the_best_draw_is_picked_whole_in_its_order() -> None:
    place = np.full(600, np.nan)
    place[[7, 3, 500]] = [0, 1, 2]
    candidates = pool(draw_place=place)
    assert picked("best-of-draws", candidates, int(candidates.token_counts[[7, 3, 500]].sum())) == [7, 3, 500]


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_a_part_of_the_tokens_goes_to_the_shortest_well_formed_rows_and_the_rest_is_randoms(part: float) -> None:
    formed = np.where(np.arange(600) % 2 == 0, 1.0, 0.75)
    candidates = pool(well_formed=formed)
    rows = picked("short-part", candidates, 8_000, part=part)
    shortest = [i for i in np.argsort(candidates.prompt_chars).tolist() if formed[i] == 1]
    short = [row for row in rows if row in set(shortest[: len(rows)])]
    first = [row for row in shortest if row in set(rows)]
    run = next(i for i, row in enumerate([*shortest, None]) if row not in set(rows))  # so many of the shortest, no gap
    assert candidates.token_counts[shortest[:run]].sum() / 8_000 >= part - 0.01
    assert first[:run] == shortest[:run] and short
    drawn = picked("random", candidates, 8_000)
    if part == 0:
        assert rows == drawn
    if part == 0.25:
        assert 0.75 < len(set(rows) & set(drawn)) / len(rows) < 1


@pytest.mark.parametrize("standing", ["the shortest", "drawn at random", "both"])
@pytest.mark.parametrize("part", [0.25, 0.6])
def test_what_stands_counts_towards_the_part_it_is_of(standing: str, part: float) -> None:
    candidates = pool(well_formed=np.where(np.arange(600) % 2 == 0, 1.0, 0.75))
    tokens, shortest = candidates.token_counts, np.argsort(candidates.prompt_chars)
    shortest = shortest[shortest % 2 == 0]
    drawn = candidates.shuffled(np.setdiff1d(np.arange(600), shortest[:150]), np.random.default_rng(0))
    both = np.concatenate([shortest[:30], drawn[:10]])
    kept = {"the shortest": shortest[:40], "drawn at random": drawn[:40], "both": both}[standing]
    state = replace(candidates, picked=kept, barred=np.isin(np.arange(600), kept))
    picks = STRATEGIES["short-part"].bind({"part": part})(state, 120, np.random.default_rng(1))
    rows = np.concatenate([kept, picks.indices])
    run = next(i for i, row in enumerate(shortest.tolist()) if row not in set(rows.tolist()))
    given = tokens[shortest[:run]].sum() / tokens[rows].sum()
    by_chance = 60 / tokens[rows].sum() + 0.06  # a row to go, and those of random's draw that are short by themselves
    assert part - 60 / tokens[rows].sum() <= given <= part + by_chance
    alone = STRATEGIES["short-part"].bind({"part": part})(candidates, 160, np.random.default_rng(1)).indices
    parted = replace(candidates, picked=alone[:40], barred=np.isin(np.arange(600), alone[:40]))
    more = STRATEGIES["short-part"].bind({"part": part})(parted, 120, np.random.default_rng(1)).indices
    assert len(set(more.tolist()) ^ set(alone[40:].tolist())) <= 8  # it goes on where it stopped


@pytest.mark.parametrize("strategy", ["influence", "influence-classifier"])
def test_rows_without_a_score_come_last_and_their_reason_is_no_number(strategy: str) -> None:
    influence = np.where(np.arange(600) < 3, np.nan, np.arange(600.0))
    candidates = pool(influence=influence, target_words=np.zeros(600))
    picks = STRATEGIES[strategy].bind({})(candidates, 600, np.random.default_rng(1))
    assert picks.indices.tolist()[-3:] == [0, 1, 2]
    assert [reason.startswith("no influence was scored") for reason in picks.reasons] == [False] * 597 + [True] * 3
