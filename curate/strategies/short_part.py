"""`short-part`: a part of the tokens for the shortest well-formed rows, the rest at random."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks

REASONS = ("among the shortest that are well-formed", "drawn at random")


def select(candidates: Candidates, k: int, rng: np.random.Generator, part: float) -> Picks:
    """Return the first k rows when `part` of the tokens goes to the shortest instructions with a well-formed answer.

    `shortest` gives more clean answers at a price in loss; this pays a part of the price. The two halves take turns so
    that their shares are right at every k; the other half is `random`'s draw of what is left. Well-formed is an answer
    that meets all that `curate.scores.form` looks for; rows whose answer does not come behind those. Standing picks
    count: to the shortest where these have come as far as them, else to the half drawn at random.
    """
    drawn, standing = candidates.shuffled(candidates.open(), rng), candidates.picked
    rows = np.concatenate([drawn, standing])
    fine = candidates.scores["well_formed"][rows] >= 1
    short = rows[np.lexsort((rows, candidates.prompt_chars[rows], ~fine))]
    tokens = candidates.token_counts
    queues, at, given = (short.tolist(), drawn.tolist()), [0, 0], [0.0, float(tokens[standing].sum())]
    stood = set(standing.tolist())
    taken = set(stood)
    chosen: list[int] = []
    reasons: list[str] = []
    while len(chosen) < min(k, len(drawn)):
        # The half whose next row brings its share of the tokens less far past what it is to be.
        half = 0 if part > 0 and given[0] * (1 - part) <= given[1] * part else 1
        row = queues[half][at[half]]
        at[half] += 1
        if row in stood:
            given[0] += float(tokens[row])
            given[1] -= float(tokens[row])
        elif row not in taken:
            taken.add(row)
            given[half] += float(tokens[row])
            chosen.append(row)
            reasons.append(REASONS[half])
    return Picks(np.array(chosen, dtype=np.int64), reasons)
