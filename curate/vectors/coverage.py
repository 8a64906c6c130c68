"""How well a pick covers the pool. Coverage is not quality: it says what the picks are near, not what they teach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.vectors.neighbours import nearest, one_thread_a_product


def measure_coverage(
    nearest: NDArray[np.float32], picks: NDArray[np.int64], labels: NDArray[np.int32]
) -> dict[str, float | None]:
    """Cosine of every row to its nearest pick (n,), averaged and at worst, and the share of clusters hit.

    `mean_cosine_to_nearest_pick` times n is the value of the facility-location function (Cornuejols et al., 1977).
    Rounded to 1e-4. None for no picks.
    """
    if not len(picks):
        return {"mean_cosine_to_nearest_pick": None, "worst_cosine_to_nearest_pick": None, "clusters_with_a_pick": None}
    return {
        "mean_cosine_to_nearest_pick": round(float(nearest.astype(np.float64).mean()), 4),
        "worst_cosine_to_nearest_pick": round(float(nearest.min()), 4),
        "clusters_with_a_pick": round(len(np.unique(labels[picks])) / len(np.unique(labels)), 4),
    }


def nearest_cosines(vectors: NDArray[np.float32], picks: NDArray[np.int64]) -> NDArray[np.float32]:
    """The cosine of every row (n x d, unit rows) to the nearest of the rows at `picks` (n,)."""
    with one_thread_a_product():
        return nearest(vectors, vectors[picks])[1]
