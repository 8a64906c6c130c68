"""Exactly k rows, or as many tokens as a budget holds, no two picks near-duplicates of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.duplicates import nearest_above
from curate.errors import UserError
from curate.strategies import Candidates, Picks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from curate.strategies import Select

BUDGET_TOLERANCE = 0.001
_BLOCK = 2048


def pick_rows(select: Select, candidates: Candidates, k: int, rng: np.random.Generator, near_duplicate: float) -> Picks:
    """Exactly k picks of `select`, none with a cosine of `near_duplicate` or more to another.

    A pick too near an earlier one is dropped, and the strategy chooses again among the candidates that are near no
    pick, until k stand. When the candidates run out first, the error says how many distinct rows there are.
    """
    import numpy as np

    picks = Picks(np.zeros(0, dtype=np.int64), [])
    places = np.arange(len(candidates))
    while len(picks.indices) < k:
        if len(places) == 0:
            raise UserError(
                f"--k {k} is more than the {len(picks.indices)} candidates that are no near-duplicates of each other "
                f"(of {len(candidates)}).",
                f"Take --k {len(picks.indices)} or less, or raise --near-duplicate.",
            )
        drawn = select(candidates.take(places), min(k - len(picks.indices), len(places)), rng)
        kept = distinct(candidates.embeddings[places[drawn.indices]], near_duplicate)
        picks.indices = np.concatenate([picks.indices, places[drawn.indices[kept]]])
        picks.reasons += [drawn.reasons[i] for i in kept.tolist()]
        picks.notes += [note for note in drawn.notes if note not in picks.notes]
        picks.near_duplicates = _near_picks(picks, candidates, near_duplicate)
        taken = np.zeros(len(candidates), dtype=bool)
        taken[picks.indices] = True
        taken[list(picks.near_duplicates)] = True
        places = np.flatnonzero(~taken)
    return picks


def pick_tokens(
    select: Select, candidates: Candidates, budget: int, rng: np.random.Generator, near_duplicate: float
) -> Picks:
    """Picks whose tokens add up to at most `budget` and, where the rows allow, to within 0.1% of it.

    Rows are taken in the strategy's order until one would overshoot; the rest is filled with the best fitting row,
    again and again, until none fits. A note says by how much the budget was missed when that is more than 0.1%.
    """
    import numpy as np

    order = select(candidates, len(candidates), rng)
    rows = order.indices[distinct(candidates.embeddings[order.indices], near_duplicate)]
    tokens = candidates.token_counts[rows].astype(np.int64)
    n_head = int(np.searchsorted(np.cumsum(tokens), budget, side="right"))
    chosen = list(range(n_head))
    left = budget - int(tokens[:n_head].sum())
    rest = np.arange(n_head, len(rows))
    while True:
        fitting = rest[tokens[rest] <= left]
        if not len(fitting):
            break
        best = int(fitting[np.argmax(tokens[fitting])])
        chosen.append(best)
        left -= int(tokens[best])
        rest = rest[rest != best]
    if not chosen:
        raise UserError(
            f"--token-budget {budget} is below the shortest candidate, {int(tokens.min())} tokens.", "Raise the budget."
        )
    reason_of = dict(zip(order.indices.tolist(), order.reasons, strict=True))
    reasons = [reason_of[int(rows[i])] for i in chosen[:n_head]] + ["fills the token budget"] * (len(chosen) - n_head)
    picks = Picks(rows[chosen], reasons, list(order.notes))
    if left > BUDGET_TOLERANCE * budget:
        picks.notes.append(f"The token budget of {budget} was missed by {left} tokens ({100 * left / budget:.2f}%).")
    picks.near_duplicates = _near_picks(picks, candidates, near_duplicate)
    return picks


def distinct(vectors: NDArray[np.float32], bound: float) -> NDArray[np.int64]:
    """Positions, in order, of the unit rows whose cosine to every kept earlier row is below `bound`."""
    import numpy as np

    kept: list[int] = []
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        repeats = nearest_above(block, vectors[kept], bound)
        near = np.round(block @ block.T, 5) >= bound
        standing = np.zeros(len(block), dtype=bool)
        for i in range(len(block)):
            standing[i] = i not in repeats and not bool((near[i, :i] & standing[:i]).any())
        kept += (start + np.flatnonzero(standing)).tolist()
    return np.array(kept, dtype=np.int64)


def _near_picks(picks: Picks, candidates: Candidates, bound: float) -> dict[int, tuple[int, float]]:
    """Every unpicked candidate near a pick -> (position of that pick, cosine)."""
    import numpy as np

    unpicked = np.ones(len(candidates), dtype=bool)
    unpicked[picks.indices] = False
    places = np.flatnonzero(unpicked)
    found = nearest_above(candidates.embeddings[places], candidates.embeddings[picks.indices], bound)
    return {int(places[i]): (int(picks.indices[pick]), cosine) for i, (pick, cosine) in found.items()}
