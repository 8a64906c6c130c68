"""What the steps of a selection hand on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.artifact.manifest_schema import FileRecord
from curate.config import SelectConfig
from curate.decontamination import BenchmarkTask
from curate.pool.fates import Fates
from curate.pool.rows import Row
from curate.sources.types import LoadedPool
from curate.tokens.prompt import PromptTemplate


@dataclass
class Work:
    """What the steps hand on: the pool, each row's fate, and the arrays about it, indexed by row_index."""

    config: SelectConfig
    pool: LoadedPool
    fates: Fates
    tokenizer_digest: str
    template: PromptTemplate
    token_counts: NDArray[np.int32]
    spelled_controls: int = 0  # rows whose text spells a control token of the tokenizer
    notes: list[str] = field(default_factory=list)
    benchmarks: list[BenchmarkTask] = field(default_factory=list)
    inputs: list[FileRecord] = field(default_factory=list)  # the pool's files, the benchmarks', the target's
    seconds: dict[str, float] = field(default_factory=dict)
    embedded: list[int] = field(default_factory=list)  # row indices, in row_id order
    embeddings: Any = None  # (len(embedded), d)
    encoder_digest: str = ""
    held_out: list[int] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)  # row indices, in row_id order
    clusters: Any = None  # labels of `embedded`
    centres: Any = None
    target_rows: list[Row] = field(default_factory=list)  # those of --target, in row_id order
    picked: list[int] = field(default_factory=list)  # row indices, in pick order
    coverage: dict[str, float | None] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        return self.pool.rows

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the seconds of a block to the manifest's `seconds`."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start
