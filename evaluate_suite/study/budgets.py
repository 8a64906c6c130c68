"""The sizes at which a study draws random beside the studied one: wide enough to say what a strategy is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from curate.config import SelectConfig
from curate.console import say
from curate.engines import open_engine
from curate.pipeline import bound, hold_out, load
from curate.selection.steps import Stopwatch
from evaluate_suite.reporting.strategies import RANDOM
from evaluate_suite.study.request import StudyRequest
from evaluate_suite.study.variants import is_random

TIMES = (0.25, 0.5, 2.0, 4.0)
REACHED = 0.9  # of the candidates: cleaning and near-duplicates take some
LEAST_STEP = 1.25  # a size nearer to the next smaller one says little more


def with_random_budgets(request: StudyRequest) -> StudyRequest:
    """Return the request with its random budgets chosen, where they are left open.

    A quarter, half, twice and four times the studied size, as far as the pool reaches: its rows are read and counted
    for that. Where nothing but random is studied there is nothing to be worth any.
    """
    if request.random_budgets is not None:
        return request
    request.check()
    if all(map(is_random, request.variants())):
        return replace(request, random_budgets=())
    budgets = budgets_about(request.base.token_budget or request.base.k, candidates_of(request.base))
    unit = "rows" if request.base.token_budget is None else "tokens"
    say(f"Random is drawn at {', '.join(f'{budget:,}' for budget in budgets) or 'no other'} {unit} too.")
    return replace(request, random_budgets=budgets)


def candidates_of(base: SelectConfig) -> int:
    """Return how many rows, or tokens of rows where there is a token budget, could be picked."""
    with open_engine() as engine:
        pool = load(base.model_copy(update={"strategy": RANDOM, "target": None}), Stopwatch(), engine)
        left = bound(pool, hold_out(pool)).fates.codes == 0
        return int(left.sum()) if base.token_budget is None else int(pool.token_counts[left].sum())


def budgets_about(size: int, candidates: int) -> Sequence[int]:
    """Return the sizes about `size` that a pool of so many candidates has room for, ascending."""
    most = int(REACHED * candidates)
    budgets: list[int] = []
    for times in TIMES:
        budget = min(max(1, round(times * size)), most)
        below = max([size, *budgets]) if times > 1 else 0
        if budget >= LEAST_STEP * below and budget != size and budget not in budgets:
            budgets.append(budget)
    return budgets
