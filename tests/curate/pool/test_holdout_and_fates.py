"""The holdout depends on content alone; every row is decided once."""

from __future__ import annotations

import random

import pytest

from curate.pool.fates import Fates
from curate.pool.holdout import reserve_holdout

IDS = [f"{i:016x}" for i in range(1000)]


def test_the_holdout_ignores_order_and_a_larger_one_contains_the_smaller() -> None:
    shuffled = IDS[:]
    random.Random(1).shuffle(shuffled)
    small, _ = reserve_holdout(IDS, 20)
    assert reserve_holdout(shuffled, 20)[0] == small
    assert small < reserve_holdout(IDS, 90)[0]


def test_a_row_more_in_the_pool_moves_at_most_one_row_of_the_holdout() -> None:
    before, _ = reserve_holdout(IDS, 50)
    after, _ = reserve_holdout([*IDS, "f" * 16], 50)
    assert len(before - after) <= 1


def test_at_most_a_tenth_is_held_out_and_that_is_said() -> None:
    taken, note = reserve_holdout(IDS[:95], 200)
    assert len(taken) == 9
    assert note == "Held out 9 rows instead of 200: a holdout takes at most a tenth of 95 rows."
    assert reserve_holdout(IDS, 100)[1] is None


def test_a_row_is_decided_once_and_counts_add_up() -> None:
    picked = Fates.undecided(3).decide([(0, "selected", "kmeans", "cluster 1")])
    fates = picked.exclude([(1, "too_long", "9 tokens, bound 8")])
    assert (picked.open_rows(), fates.open_rows()) == ([1, 2], [2])
    with pytest.raises(ValueError, match="row 0 is already selected"):
        fates.decide([(0, "not_picked", "not_picked", None)])
    fates = fates.decide([(2, "not_picked", "not_picked", None)])
    assert (fates.kind_of(1), fates.details[1]) == (("excluded", "too_long"), "9 tokens, bound 8")
    assert fates.counts() == {"pool": 3, "excluded": 1, "not_picked": 1, "selected": 1, "excluded.too_long": 1}


def test_the_sentence_about_excluded_rows_begins_with_the_most_common_reason() -> None:
    fates = Fates.undecided(4)
    assert fates.excluded_sentence() == "none"
    fates = fates.exclude([(0, "duplicate", None), (1, "too_long", None), (2, "too_long", None)])
    assert fates.excluded_sentence() == "too_long 2, duplicate 1"
