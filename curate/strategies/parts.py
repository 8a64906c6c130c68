"""Greedy picks from more rows than one process should hold: of each part first, then of what the parts picked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from curate.errors import UserError
from curate.strategies.types import Candidates, Picks

PART_ROWS = 250_000  # rows of a part
WHOLE_ROWS = 2 * PART_ROWS  # up to so many, all rows are picked from at once

Pick = Callable[[Candidates, np.random.Generator], Picks]


def pick_by_parts(pick: Pick, candidates: Candidates, seed: list[int], strategy: str, bound: str) -> Picks:
    """Return the picks among the union of every part's own picks (GreeDi: Mirzasoleiman et al., 2013).

    Parts are rows that follow each other in row_id order. A row_id is a digest of the text, so a part is as good as a
    random one, and it depends on the pool alone. `bound` says, for the note, how far this may be from picking at once.
    """
    n_parts = -(-len(candidates) // PART_ROWS)
    cuts = np.linspace(0, len(candidates), n_parts + 1).astype(np.int64)
    chosen = []
    for number in range(n_parts):
        places = np.union1d(np.arange(cuts[number], cuts[number + 1]), candidates.picked)  # with those that stand
        try:
            picks = pick(candidates.take(places), np.random.default_rng([*seed, number + 1]))
        except UserError:  # too few rows that are unlike each other: what the part has is for the union to decide
            chosen.append(places)
        else:
            chosen.append(places[np.sort(picks.indices)])
    union = np.unique(np.concatenate(chosen))
    picks = pick(candidates.take(union), np.random.default_rng(seed))
    note = (
        f"{strategy}: {len(candidates):,} candidates are more than {WHOLE_ROWS:,}, so it picked among the "
        f"{len(union):,} rows that it had picked from {n_parts} parts; {bound}."
    )
    near = {int(union[row]): (int(union[kept]), cosine) for row, (kept, cosine) in picks.near_duplicates.items()}
    return replace(picks, indices=union[picks.indices], notes=[*picks.notes, note], near_duplicates=near)
