"""Running a check over the pool at rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.cleaning.table import CHECKS
from curate.engines.types import Engine, cut
from curate.pool.rows import Finding
from curate.pool.table import PoolTable


@dataclass(frozen=True)
class CheckStep:
    """Returns what a check that judges each row alone finds among the rows at the places of a block."""

    table: PoolTable
    check: str

    def __call__(self, places: NDArray[np.int64]) -> list[Finding]:
        return CHECKS[self.check].load()(self.table.read(places), [])


def run_check(
    engine: Engine, table: PoolTable, name: str, places: NDArray[np.int64], held_out: NDArray[np.int64]
) -> list[Finding]:
    """Return what a check finds among the rows at some places; those held out are looked at and never excluded."""
    check = CHECKS[name]
    if check.in_pool is not None:
        findings: list[Finding] = check.in_pool()(engine, table, places, held_out)
        return findings
    if check.by_row:
        blocks = engine.map(CheckStep(table, name), cut(places, engine.block_cells))
        return [finding for block in blocks for finding in block]
    return check.load()(table.read(places), table.read(held_out))
