"""`rds`: near the rows of a target set, each target row in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.strategies.types import Candidates, Picks
from curate.vectors.neighbours import each_block

_BLOCK = 32


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Round robin over the target rows (`--target FILE`): each takes the row most like it that is not taken yet.

    Ivison et al., 2025 (arXiv 2503.01807) represent rows by a model's position-weighted hidden states (RDS+); here they
    are the vectors of `--encoder`, the same ones everything else uses. In their code a target row whose next best is
    taken misses its turn; here it takes the one after. Target rows go in row_id order.
    """
    assert candidates.target is not None, "the recipe gives a target to strategies that need one"
    target, places = candidates.target, candidates.open()
    k = min(k, len(places))
    n_lists = len(target)
    length = min(len(places), 4 * (k // n_lists) + 32)
    taken = np.zeros(len(candidates), dtype=bool)
    order: list[int] = []
    reasons: list[str] = []
    ranked, cosines = _nearest_lists(target, candidates.embeddings, places, length)
    at = np.zeros(n_lists, dtype=np.int64)
    turn = len(candidates.picked)
    while len(order) < k:
        mine = turn % n_lists
        while at[mine] < length and taken[ranked[mine, at[mine]]]:
            at[mine] += 1
        if at[mine] == length:  # every row of its list is taken: make the lists longer
            length = min(len(places), 4 * length)
            ranked, cosines = _nearest_lists(target, candidates.embeddings, places, length)
            continue
        best = int(ranked[mine, at[mine]])
        taken[best] = True
        order.append(best)
        reasons.append(f"cosine {cosines[mine, at[mine]]:.4f} to target row {mine + 1}")
        turn += 1
    return Picks(np.array(order, dtype=np.int64), reasons)


def _nearest_lists(
    target: NDArray[np.float32], vectors: NDArray[np.float32], places: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each target row the `length` rows at `places` most like it, best first, ties in order: (t, length) each."""
    rows = vectors[places]

    def rank(block: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        cosine = np.round(target[block] @ rows.T, 5)
        top = np.argsort(-cosine, axis=1, kind="stable")[:, :length]
        return places[top], np.take_along_axis(cosine, top, axis=1)

    parts = list(each_block(len(target), _BLOCK, rank))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
