"""The shared holdout: reserved by content alone, before anything a user may vary is looked at."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from curate.artifact import digest_text

MAX_SHARE = 10  # at most one row in ten is held out


def reserve_holdout(row_ids: Sequence[str], asked: int) -> tuple[set[str], str | None]:
    """The ids to hold out, and a sentence when they are fewer than `asked`.

    `row_ids` are those of the distinct rows with an output. The ids with the smallest digest (salted, so that the
    holdout is independent of the digest order that batches and ties use) are taken: the same pool gives the same
    holdout for every strategy, k, bound and seed, and a larger holdout contains the smaller one.
    """
    room = len(row_ids) // MAX_SHARE
    taken = heapq.nsmallest(min(asked, room), row_ids, key=lambda row_id: digest_text(f"rowpick holdout {row_id}"))
    note = None
    if asked > room:
        note = f"Held out {room} rows instead of {asked}: a holdout takes at most a tenth of {len(row_ids)} rows."
    return set(taken), note
