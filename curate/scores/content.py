"""The scores of rows that strategies ask for by name, computed from the texts or read by content."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from curate.pool.rows import Row
from curate.scores.form import well_formed
from curate.scores.influence_record import read_influence
from curate.scores.target_words import word_odds

CONTENT = frozenset({"target_words", "well_formed", "influence"})


def content_scores(
    needs: Collection[str], rows: Sequence[Row], target: Sequence[Row], influence: str | None
) -> dict[str, NDArray[np.float64]]:
    """Return arrays (n,) by name for those of `needs` that are known here; `rows` are the candidates."""
    scores = {}
    if "target_words" in needs:
        scores["target_words"] = word_odds(rows, target)
    if "well_formed" in needs:
        scores["well_formed"] = well_formed(rows)
    if "influence" in needs and influence is not None:
        scores["influence"] = read_influence(influence).of_rows(rows)
    return scores
