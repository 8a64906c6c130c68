"""Coordinated draws: random numbers that belong to rows, so that strategies of one draw share what they can."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def row_luck(row_ids: Sequence[str], draw: int) -> NDArray[np.float64]:
    """Return u(draw, row): a number of [0, 1) for every row (n,), hashed from its row_id and the draw.

    Rows drawn in the order of these numbers are a uniform draw, and whatever else decides which rows are candidates,
    the same rows come early. A filter that keeps 85% of the rows thus shares about 85% of its picks with `random`, and
    chance that both have in common falls out of their difference (common random numbers; sample coordination by
    permanent random numbers: Ohlsson, 1995). The share depends on the row's id alone, not on its place or the pool.
    """
    hashes = (blake2b(f"{draw}:{row_id}".encode(), digest_size=8).digest() for row_id in row_ids)
    return np.frombuffer(b"".join(hashes), dtype="<u8").astype(np.float64) / 2.0**64
