"""The vectors of some rows as one matrix: in memory where they are few, in a mapped file where they are many."""

from __future__ import annotations

import tempfile

import numpy as np
from numpy.typing import NDArray

from curate.artifact import cache_dir
from curate.pool.table import CELL_ROWS
from curate.vectors.pieces import give_back

IN_MEMORY_ROWS = 200_000


def gathered(matrix: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return `matrix[places]`, or the matrix itself where that is the same.

    More than `IN_MEMORY_ROWS` rows are written to a file without a name, which the system may put aside and which is
    gone with the last reference to it.
    """
    if len(places) == len(matrix):
        return matrix
    if len(places) <= IN_MEMORY_ROWS:
        return np.asarray(matrix[places])
    with tempfile.TemporaryFile(dir=cache_dir("embeddings")) as file:
        for start in range(0, len(places), CELL_ROWS):
            file.write(np.asarray(matrix[places[start : start + CELL_ROWS]]).data)
            give_back(matrix)
        file.flush()
        return np.memmap(file, np.float32, "r", shape=(len(places), matrix.shape[1]))
