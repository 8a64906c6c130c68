"""A matrix of vectors in pieces of whole cells: read from its file by whoever works on one, or handed over where it is
in memory."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from curate.engines.types import Engine, spans
from curate.pool.table import CELL_ROWS

R = TypeVar("R")
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop` of a matrix of `width` columns."""

    start: int
    stop: int
    width: int
    path: str | None = None
    offset: int = 0
    values: Vectors | None = None

    def read(self) -> Vectors:
        """Return the rows (n x d float32)."""
        if self.values is not None:
            return self.values
        count = (self.stop - self.start) * self.width
        at = self.offset + self.start * self.width * 4
        return np.fromfile(str(self.path), np.float32, count, offset=at).reshape(-1, self.width)

    def by_cell(self, job: Callable[[Vectors], R]) -> list[R]:
        """Return `job` of every cell of the piece, in order. Its arithmetic sees the same rows whatever the piece."""
        rows = self.read()
        return [job(rows[at : at + CELL_ROWS]) for at in range(0, len(rows), CELL_ROWS)]


def give_back(matrix: Vectors) -> None:
    """Let the system take the pages of a mapped matrix that this process has read: the file has them still.

    They would be taken anyway where memory is short; until then they count as this process's.
    """
    base = matrix.base
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def pieces(matrix: Vectors, block_cells: int) -> list[Piece]:
    """Return the pieces of a matrix, which is a whole file, mapped, or an array in memory."""
    width = matrix.shape[1]
    if isinstance(matrix, np.memmap):
        path, offset = str(Path(str(matrix.filename)).absolute()), int(matrix.offset)
        return [Piece(start, stop, width, path, offset) for start, stop in spans(len(matrix), block_cells)]
    return [Piece(start, stop, width, values=matrix[start:stop]) for start, stop in spans(len(matrix), block_cells)]


def map_pieces(engine: Engine, step: Callable[[Piece], R], matrix: Vectors) -> Iterator[R]:
    """Yield `step` of every piece of a matrix, in order."""
    yield from engine.map(step, pieces(matrix, engine.block_cells))
