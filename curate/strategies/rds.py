"""`rds`: near the rows of a target set, each target row in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.strategies.types import Candidates, Picks
from curate.vectors.neighbours import NearPick, each_block

_BLOCK = 32


def select(candidates: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Round robin over the target rows (`--target FILE`): each takes the row most like it that is not taken yet.

    Ivison et al., 2025 (arXiv 2503.01807) represent rows by a model's position-weighted hidden states (RDS+); here they
    are the vectors of `--encoder`, the same ones everything else uses. In their code a target row whose next best is
    taken, or near one that is, misses its turn; here it takes the one after. Target rows go in row_id order; rows of
    `--keep` are no turns.
    """
    assert candidates.target is not None, "the recipe gives a target to strategies that need one"
    target, places, vectors = candidates.target, candidates.open(), candidates.embeddings
    k = min(k, len(places))
    n_lists = len(target)
    length = min(len(places), 4 * (k // n_lists) + 32)
    passed = np.zeros(len(candidates), dtype=bool)  # taken, or near a row that is
    near = NearPick(vectors, [], k, candidates.near_duplicate)
    order: list[int] = []
    reasons: list[str] = []
    ranked, cosines = _nearest_lists(target, vectors, places, length)
    at = np.zeros(n_lists, dtype=np.int64)
    turn = len(candidates.picked) - candidates.kept
    while len(order) < k:
        mine = turn % n_lists
        while at[mine] < length and passed[ranked[mine, at[mine]]]:
            at[mine] += 1
        if at[mine] == length:  # every row of its list is passed: make the lists longer
            if length == len(places):
                rest = places[~np.isin(places, order)][: k - len(order)]  # near-duplicates alone: the caller says so
                return Picks(np.array([*order, *rest], dtype=np.int64), [*reasons, *["near a pick"] * len(rest)])
            length = min(len(places), 4 * length)
            ranked, cosines = _nearest_lists(target, vectors, places, length)
            continue
        best = int(ranked[mine, at[mine]])
        passed[best] = True
        if near.is_near(best):  # it would be dropped later, and with it this turn
            continue
        near.add(best)
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
