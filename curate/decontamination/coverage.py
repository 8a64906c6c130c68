"""How much of each of a set of reference texts stands in each row: shared windows, and what they cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.decontamination.streams import Streams, windows

_TO_24_BITS = 40  # bits to shift a 64-bit hash by


@dataclass(frozen=True)
class Covered:
    """Pairs of a row and a reference text: the `share` of the reference's tokens that windows of the row cover."""

    row: NDArray[np.int64]
    reference: NDArray[np.int64]
    share: NDArray[np.float64]


class Index:
    """The windows of reference texts, to be looked up in rows. References shorter than a window are never found."""

    def __init__(self, references: Streams, n_references: int, length: int, *, renamed: bool) -> None:
        self.length, self.renamed = length, renamed
        hashes, starts = windows(references, length, renamed=renamed)
        order = np.argsort(hashes, kind="stable")
        self.reference = references.row[starts][order].astype(np.int64)
        self.position = starts[order]
        self.hashes, self.first, self.times = np.unique(hashes[order], return_index=True, return_counts=True)
        # Most windows of most rows stand in no reference: a table of 24 bits of the hash says so without a search.
        self.maybe = np.zeros(1 << 24, dtype=bool)
        self.maybe[self.hashes >> _TO_24_BITS] = True
        self.tokens = np.bincount(references.row, minlength=n_references)

    def cover(self, rows: Streams, least: float) -> Covered:
        """Every pair of a row and a reference of which at least the share `least` is covered, by row."""
        hashes, starts = windows(rows, self.length, renamed=self.renamed)
        if not len(hashes) or not len(self.hashes):
            none = np.zeros(0, dtype=np.int64)
            return Covered(none, none, np.zeros(0))
        likely = self.maybe[hashes >> _TO_24_BITS]
        hashes, starts = hashes[likely], starts[likely]
        place = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        hit = self.hashes[place] == hashes
        pairs = np.unique(rows.row[starts[hit]].astype(np.int64) * len(self.hashes) + place[hit])
        row, window = np.divmod(pairs, len(self.hashes))
        times = self.times[window]
        # Every window of the row, with every place where a reference has it.
        offset = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        where = np.repeat(self.first[window], times) + offset
        row, reference, position = np.repeat(row, times), self.reference[where], self.position[where]
        order = np.lexsort((position, reference, row))
        row, reference, position = row[order], reference[order], position[order]
        # A covered token counts once: a window adds what lies before the next one of the same pair begins.
        last = np.ones(len(row), dtype=bool)
        last[:-1] = (row[1:] != row[:-1]) | (reference[1:] != reference[:-1])
        adds = np.full(len(row), self.length, dtype=np.int64)
        adds[:-1] = np.where(last[:-1], self.length, np.minimum(self.length, position[1:] - position[:-1]))
        ends = np.flatnonzero(last)
        covered = np.diff(np.concatenate([[0], np.cumsum(adds)[ends]])) if len(ends) else np.zeros(0, dtype=np.int64)
        share = covered / self.tokens[reference[ends]]
        kept = share >= least
        return Covered(row[ends][kept], reference[ends][kept], share[kept])
