"""`short-part`: a part of the tokens for the shortest well-formed rows, the rest at random."""

from __future__ import annotations

import numpy as np

from curate.strategies.types import Candidates, Picks

REASONS = ("among the shortest that are well-formed", "drawn at random")


def select(candidates: Candidates, k: int, rng: np.random.Generator, part: float) -> Picks:
    """Return the first k rows when `part` of the tokens goes to the shortest instructions with a well-formed answer.

    `shortest` gives more clean answers at a price in loss; this pays a part of the price. The two halves take turns so
    that their shares are right at every k; the other half is `random`'s draw of what is left. Well-formed is an answer
    that meets all that `curate.scores.form` looks for; rows whose answer does not come behind those.
    """
    drawn = candidates.shuffled(candidates.open(), rng)
    fine = candidates.scores["well_formed"][drawn] >= 1
    short = drawn[np.lexsort((drawn, candidates.prompt_chars[drawn], ~fine))]
    queues, at, given = (short.tolist(), drawn.tolist()), [0, 0], [0.0, 0.0]
    taken: set[int] = set()
    chosen: list[int] = []
    reasons: list[str] = []
    while len(chosen) < min(k, len(drawn)):
        # The half whose next row brings its share of the tokens less far past what it is to be.
        half = 0 if part > 0 and given[0] * (1 - part) <= given[1] * part else 1
        while queues[half][at[half]] in taken:
            at[half] += 1
        row = queues[half][at[half]]
        taken.add(row)
        given[half] += float(candidates.token_counts[row])
        chosen.append(row)
        reasons.append(REASONS[half])
    return Picks(np.array(chosen, dtype=np.int64), reasons)
