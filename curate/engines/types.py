"""What an engine is, and how the rows of a pool are cut into its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from curate.pool.table import CELL_ROWS

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Carries a step to blocks. `map` yields the results in the order of the blocks, whoever computes them and when; a
    block whose worker died is computed again. A step is a function of one block and of nothing else: it is pickled, and
    what it needs from disk must be where every worker sees it. Its `advice`, where it has one, is what to lower when a
    worker runs out of memory.

    `block_cells` are the cells of a block. No result may depend on it: arithmetic is done cell by cell.
    """

    name: str
    block_cells: int

    def map(self, step: Callable[[T], R], blocks: Sequence[T], *, heavy: bool = False) -> Iterator[R]:
        """Yield `step(block)` for every block, in order. A block that is `heavy` is worth a process of its own."""
        ...

    def require_path(self, path: str) -> None:
        """Raise a `UserError` where a worker would not see what stands at `path` here."""
        ...

    def rest(self) -> None:
        """Give back what idle workers of this machine hold; the next `map` starts them again."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


def cut(places: NDArray[Any], block_cells: int) -> list[NDArray[Any]]:
    """Return `places` in blocks of whole cells, the last one perhaps shorter."""
    size = CELL_ROWS * block_cells
    return [places[start : start + size] for start in range(0, len(places), size)]


def spans(n_rows: int, block_cells: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the blocks of whole cells that `n_rows` rows make."""
    size = CELL_ROWS * block_cells
    return [(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def cells(start: int, stop: int) -> Iterator[slice]:
    """Yield the cells of a block, as slices of it."""
    for at in range(0, stop - start, CELL_ROWS):
        yield slice(at, min(at + CELL_ROWS, stop - start))


def local_path(name: str) -> str:
    """Return the absolute path where `name` is one, else the name: workers stand in other folders."""
    return str(Path(name).absolute()) if Path(name).exists() else name
