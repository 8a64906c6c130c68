"""What each step of a selection returns, frozen, in the order in which they follow from each other.

`Pool` (read and counted) -> `Split` (held-out rows and candidates) -> `Prepared` (embedded and clustered) -> `Picked`.
Rows are named by `row_index`, their place in the pool.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curate.artifact.manifest_schema import FileRecord
from curate.config import SelectConfig
from curate.decontamination import BenchmarkTask
from curate.engines.local import LocalEngine
from curate.engines.types import Engine
from curate.pool.fates import Fates
from curate.pool.rows import Row
from curate.pool.table import PoolTable
from curate.selection.keeping import Kept
from curate.sources.types import LoadedPool
from curate.tokens.prompt import PromptTemplate
from curate.vectors.given import GivenVectors


@dataclass(frozen=True)
class Stopwatch:
    """Seconds by step, for the manifest. The one thing here that fills up as the steps run; no result depends on it."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the seconds of a block to those of `step`."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Pool:
    """The pool as read, with every row's token count (n,) under the model's tokenizer and the prompt template.

    `engine` maps the steps over the rows' blocks. `config` names the encoder that "auto" stands for; `spelled_controls`
    is how many rows spell a control token. `inputs` are the files of the pool, of the benchmarks, of the target, of the
    rows that are kept and of the vectors that are given, in this order; `target_rows` are in row_id order.
    """

    config: SelectConfig
    loaded: LoadedPool
    template: PromptTemplate
    tokenizer_digest: str
    token_counts: NDArray[np.int32]
    engine: Engine = field(default_factory=LocalEngine)
    spelled_controls: int = 0
    notes: tuple[str, ...] = ()
    benchmarks: Sequence[BenchmarkTask] = ()
    target_rows: Sequence[Row] = ()
    inputs: Sequence[FileRecord] = ()
    kept: Kept | None = None
    vectors: GivenVectors | None = None

    @property
    def rows(self) -> PoolTable:
        """The rows at rest, told by row_index."""
        return self.loaded.rows

    def places_of(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in the table some rows stand, ascending."""
        return np.sort(self.rows.place[np.asarray(rows, dtype=np.int64)])


@dataclass(frozen=True)
class Split:
    """The held-out rows, in row_id order, and the fates so far: a row that is still open may become a candidate."""

    held_out: tuple[int, ...]
    fates: Fates
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vectors:
    """Unit vectors `matrix` (n x d) of `rows`, which are in row_id order; `digest` is the encoder's."""

    rows: NDArray[np.int64]
    matrix: NDArray[np.float32]
    digest: str

    def places(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in the matrix the vectors of some of the rows stand."""
        return self._place[np.asarray(rows, dtype=np.int64)]

    def undecided(self, fates: Fates) -> NDArray[np.bool_]:
        """Return which of the rows no fate is decided of yet (n,): the candidates."""
        return np.asarray(fates.codes[self.rows] == 0)

    @cached_property
    def _place(self) -> NDArray[np.int64]:
        place = np.full(int(self.rows.max(initial=-1)) + 1, -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        return place


@dataclass(frozen=True)
class Prepared:
    """All that a strategy chooses from, clustered: the candidates are in row_id order.

    `labels` (n,) is the cluster of every embedded row, candidate or not; `centres` (c x d) are the clusters' centres.
    """

    pool: Pool
    split: Split
    vectors: Vectors
    candidates: NDArray[np.int64]
    labels: NDArray[np.int32]
    centres: NDArray[np.float32]


@dataclass(frozen=True)
class Picked:
    """The picked rows in pick order, every row's final fate, and how well the picks cover the candidates."""

    rows: tuple[int, ...]
    fates: Fates
    coverage: dict[str, float | None]
    notes: tuple[str, ...] = ()
