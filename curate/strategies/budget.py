"""Exactly k rows, or as many tokens as a budget holds, no two picks near-duplicates of each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from curate.errors import UserError
from curate.strategies.caps import Room
from curate.strategies.types import Candidates, Picks, Select
from curate.vectors.neighbours import ROUNDING, distinct, nearest, one_thread_a_product

BUDGET_TOLERANCE = 0.001
_SPARE_SHARE = 0.1  # drawn beyond the estimate of what a token budget needs


class _Standing:
    """The picks that stand, and the candidates they bar: themselves and every row near one of them.

    `weights` are what a pick counts towards the caps."""

    def __init__(self, candidates: Candidates, bound: float, weights: NDArray[np.int64]) -> None:
        self.candidates, self.bound = candidates, bound
        self.room = Room(candidates.caps, weights)
        self.indices: list[int] = []
        self.reasons: list[str] = []
        self.notes: list[str] = []
        self.barred = np.zeros(len(candidates), dtype=bool)
        self.near: dict[int, tuple[int, float]] = {}
        self.kept = len(candidates.picked)  # these stood before and stay
        if self.kept:
            self.add(candidates.picked, ["stood before"] * self.kept)

    def open(self) -> NDArray[np.int64]:
        """The candidates that may be picked next, ascending."""
        places = np.flatnonzero(~self.barred)
        return places[self.room.has(places)]

    def draw(self, select: Select, k: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], list[str]]:
        """Up to k further picks in order and their reasons, none near a standing one or an earlier one of them, none
        that a cap has no room for."""
        barred = np.ones(len(self.candidates), dtype=bool)
        barred[self.open()] = False
        state = replace(
            self.candidates,
            picked=np.array(self.indices, dtype=np.int64),
            barred=barred,
            near_duplicate=self.bound,
            kept=self.kept,
        )
        drawn = select(state, k, rng)
        self.notes = drawn.notes  # a strategy speaks of the whole pick, so the last word stands
        kept = distinct(self.candidates.embeddings[drawn.indices], self.bound)
        kept = kept[self.room.fitting(drawn.indices[kept])]
        return drawn.indices[kept], [drawn.reasons[i] for i in kept.tolist()]

    def add(self, indices: NDArray[np.int64], reasons: list[str]) -> None:
        """Let these stand, and bar what is near them."""
        self.indices += indices.tolist()
        self.reasons += reasons
        self.barred[indices] = True
        self.room.spend(indices)
        self._bar_near(np.flatnonzero(~self.barred), indices)

    def remove(self, place: int) -> None:
        """Take back the pick at `place`; what only it barred is open again."""
        removed = self.indices.pop(place)
        self.reasons.pop(place)
        self.room.spend(np.array([removed]), back=True)
        freed = np.array([removed, *(row for row, (pick, _) in self.near.items() if pick == removed)], dtype=np.int64)
        self.near = {row: near for row, near in self.near.items() if near[0] != removed}
        self.barred[freed] = False
        self._bar_near(freed, np.array(self.indices, dtype=np.int64))

    def _bar_near(self, places: NDArray[np.int64], picks: NDArray[np.int64]) -> None:
        vectors = self.candidates.embeddings
        pick, cosine = nearest(vectors, vectors[picks], places)
        for i in np.flatnonzero(cosine >= self.bound - ROUNDING).tolist():
            # Compared to 1e-5: what counts as having reached the bound is not told as being just below it.
            self.near[int(places[i])] = (int(picks[pick[i]]), max(self.bound, round(float(cosine[i]), 5)))
            self.barred[places[i]] = True

    def picks(self) -> Picks:
        notes = [*self.notes, *self.room.notes(int(self.room.weights.min(initial=1)))]
        return Picks(np.array(self.indices, dtype=np.int64), self.reasons, notes, self.near)


def pick_rows(select: Select, candidates: Candidates, k: int, rng: np.random.Generator, near_duplicate: float) -> Picks:
    """Exactly k picks of `select`, none with a cosine of `near_duplicate` or more to another.

    A pick too near an earlier one, or one that a cap has no room for, is dropped, and the strategy goes on, from the
    picks that stand, among the candidates that are left, until k stand. When those run out first, the error says how
    many stood. (Being near is not transitive, so another choice might find a few more.)
    """
    with one_thread_a_product():
        standing = _Standing(candidates, near_duplicate, np.ones(len(candidates), dtype=np.int64))
        while (missing := k - len(standing.indices)) > 0:
            n_open = len(standing.open())
            if n_open == 0:
                found = len(standing.indices)
                if not standing.barred.all():
                    caps = _told(candidates)
                    raise UserError(
                        f"--k {k} is more than the {found} of {len(candidates)} candidates that {caps} allows.",
                        standing.room.way_out(),
                    )
                raise UserError(
                    f"--k {k} is more than the {found} candidates found that are no near-duplicates of each other "
                    f"(of {len(candidates)}).",
                    f"Take a smaller --k, or raise --near-duplicate from {near_duplicate}.",
                )
            standing.add(*standing.draw(select, min(missing, n_open), rng))
    return standing.picks()


def pick_tokens(
    select: Select, candidates: Candidates, budget: int, rng: np.random.Generator, near_duplicate: float
) -> Picks:
    """Picks whose tokens add up to at most `budget` and, where the rows allow, to within 0.1% of it.

    Rows are taken in the strategy's order and those that overshoot are skipped; the rest is filled with the best
    fitting row, again and again, and then by exchanging a pick for a row that fits better. A note says by how much the
    budget was missed when that is more than 0.1%.
    """
    tokens = candidates.token_counts.astype(np.int64)
    kept_tokens = int(tokens[candidates.picked].sum())
    if kept_tokens > budget:
        raise UserError(
            f"--token-budget {budget} is below the {kept_tokens} tokens of the rows that are kept.",
            "It counts the kept rows too: raise it.",
        )
    with one_thread_a_product():
        standing = _Standing(candidates, near_duplicate, tokens)
        left = _take_in_order(standing, select, tokens, budget - kept_tokens, rng)
        left = _fill(standing, tokens, left)
        if not standing.indices:
            if (tokens <= budget).any():
                caps = _told(candidates)
                raise UserError(f"--token-budget {budget}: {caps} leaves no candidate.", "Raise the share.")
            raise UserError(
                f"--token-budget {budget} is below the shortest candidate, {int(tokens.min())} tokens.",
                "Raise the budget.",
            )
        if left > BUDGET_TOLERANCE * budget:
            left = _exchange(standing, tokens, left, BUDGET_TOLERANCE * budget)
    picks = standing.picks()
    if left > BUDGET_TOLERANCE * budget:
        picks.notes.append(f"The token budget of {budget} was missed by {left} tokens ({100 * left / budget:.2f}%).")
    return picks


def _told(candidates: Candidates) -> str:
    """The caps as they are typed."""
    return " ".join(map(str, candidates.caps))


def _take_in_order(
    standing: _Standing, select: Select, tokens: NDArray[np.int64], left: int, rng: np.random.Generator
) -> int:
    """Take what the strategy draws while it fits; the tokens left over, once a row had to be skipped, come back."""
    while len(places := standing.open()) and left > 0:
        estimate = int((1 + _SPARE_SHARE) * left / tokens[places].mean()) + 1
        drawn, reasons = standing.draw(select, min(estimate, len(places)), rng)
        taken = []
        for i, place in enumerate(drawn.tolist()):
            if tokens[place] <= left:
                taken.append(i)
                left -= int(tokens[place])
        standing.add(drawn[taken], [reasons[i] for i in taken])
        if len(taken) < len(drawn):
            standing.notes = []  # they speak of all that was drawn, and some of that was not taken
            break
    return left


def _fill(standing: _Standing, tokens: NDArray[np.int64], left: int) -> int:
    """Add the longest row that fits, the first of equals, until none does; the tokens left over come back."""
    while True:
        fitting = standing.open()
        fitting = fitting[tokens[fitting] <= left]
        if not len(fitting):
            return left
        best = fitting[[np.argmax(tokens[fitting])]]
        standing.add(best, ["fills the token budget"])
        left -= int(tokens[best[0]])


def _exchange(standing: _Standing, tokens: NDArray[np.int64], left: int, enough: float) -> int:
    """Exchange a pick for an open row that leaves fewer tokens over, the best exchange first, while one helps."""
    while left > enough:
        places = standing.open()
        if not len(places):
            return left
        places = places[np.argsort(tokens[places], kind="stable")]
        picked = tokens[standing.indices]
        at = np.searchsorted(tokens[places], picked + left, side="right") - 1
        gains = np.where(at >= 0, tokens[places[at]] - picked, 0)
        gains[: standing.kept] = 0
        out = int(np.argmax(gains))
        if gains[out] <= 0:
            return left
        standing.remove(out)
        standing.add(places[at[[out]]], ["exchanged to fill the token budget"])
        left = _fill(standing, tokens, left - int(gains[out]))  # what the removed pick barred may fit now
    return left
