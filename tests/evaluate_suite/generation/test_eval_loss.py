"""Eval loss by row: which rows are scored, how rows become one number, and when the cache answers."""

from __future__ import annotations

import math

import pytest

from curate.errors import UserError
from curate.selection.record import SelectedRow
from evaluate_suite.reporting.eval_loss import (
    RowEval,
    cached_rows,
    choose_rows,
    perplexity,
    require_numbers,
    token_mean,
)

ROWS = [SelectedRow(row_id, "ask", "answer", "test", n) for row_id, n in (("c", 5), ("a", 600), ("b", 7))]


def test_rows_are_taken_by_digest_and_those_beyond_the_context_go_unscored_with_a_reason() -> None:
    chosen = choose_rows(ROWS, 2, 512)
    assert ([row.row_id for row in chosen.scored], chosen.unscored) == (["b"], {"a": "longer_than_context"})


def test_without_a_known_context_every_row_is_scored() -> None:
    assert [row.row_id for row in choose_rows(ROWS, None, None).scored] == ["a", "b", "c"]


def test_every_token_weighs_the_same() -> None:
    assert token_mean([RowEval("a", 2.0, 1), RowEval("b", 2.0, 3)]) == 1.0


def test_the_mean_of_nothing_is_absent_and_so_is_its_perplexity() -> None:
    assert (token_mean([]), perplexity(None), perplexity(1000.0)) == (None, None, None)
    assert perplexity(0.5) == math.exp(0.5)


def test_the_cache_answers_for_the_same_identity_and_rows_only() -> None:
    made: list[str] = []

    def score(name: str) -> list[RowEval]:
        made.append(name)
        return [RowEval("c", 0.1 + 0.2, 3)]

    first = cached_rows(["base"], ROWS[:1], lambda: score("first"))
    assert cached_rows(["base"], ROWS[:1], lambda: pytest.fail("scored again")) == first
    cached_rows(["tuned"], ROWS[:1], lambda: score("tuned"))
    cached_rows(["base"], ROWS[:2], lambda: score("more rows"))
    assert made == ["first", "tuned", "more rows"]


def test_a_model_whose_loss_is_no_number_is_named() -> None:
    losses = [RowEval("a", 1.0, 2), RowEval("b", float("nan"), 2), RowEval("c", float("inf"), 2)]
    assert require_numbers(losses[:1], "run-1") == losses[:1]
    with pytest.raises(UserError, match="The eval loss of run-1 is not a finite number on 2 of 3 held-out rows."):
        require_numbers(losses, "run-1")
