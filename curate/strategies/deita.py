"""`deita`: score first, then only what differs from the picks."""

from __future__ import annotations

import numpy as np

from curate.strategies.ifd import describe_ifd, rank_by_ifd
from curate.strategies.types import Candidates, Picks
from curate.vectors.neighbours import ROUNDING, distinct, nearest


def select(candidates: Candidates, k: int, rng: np.random.Generator, threshold: float) -> Picks:
    """Rows from the best score down, each taken only where its cosine to every pick is below `threshold`.

    Liu et al., 2023 (arXiv 2312.15685), whose threshold is 0.9. Their score is complexity times quality by two
    fine-tuned 13B models, and their vectors are hidden states of a 13B model; here the score is the
    instruction-following difficulty of `ifd`, which needs no judge, and the vectors are those of `--encoder`. They stop
    where the rows that differ run out; here the best of the others follow until k, and a note says how many.
    """
    places = candidates.open()
    k = min(k, len(places))
    ranked = places[np.argsort(rank_by_ifd(candidates.scores["ifd"])[places], kind="stable")]
    vectors = candidates.embeddings
    apart = ranked[nearest(vectors[ranked], vectors[candidates.picked])[1] < threshold - ROUNDING]
    order = apart[distinct(vectors[apart], threshold, k)[:k]]
    others = ranked[~np.isin(ranked, order)][: k - len(order)]
    notes = []
    if len(others):
        notes = [
            f"deita: only {len(candidates.picked) + len(order)} rows differ by cosine {threshold}; "
            f"{len(others)} more were taken by score alone."
        ]
    order = np.concatenate([order, others])
    return Picks(order, [describe_ifd(candidates.scores["ifd"][i]) for i in order.tolist()], notes)
