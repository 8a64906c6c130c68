"""Rows that share nearly all their tokens with another, found by MinHash."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash
from numpy.typing import NDArray

from curate.engines.types import Engine, cut
from curate.pool.rows import Finding, Row
from curate.pool.table import PoolTable

JACCARD = 0.8
SHINGLE_TOKENS = 3
# 16 bands of 6: two rows with a similarity of 0.8 meet in a band with 99% probability, of 0.5 with 22%.
BANDS, BAND_ROWS = 16, 6
_MAX_TOKENS = 20_000
# Survivors a bucket remembers. In a pool written from one template thousands meet without being near enough, and
# comparing with all of them would take time that grows with the square of the pool.
_BUCKET = 20
_TOKEN = re.compile(r"\w+|[^\w\s]")
_MIX = np.uint64(0x9E3779B97F4A7C15)


def find(rows: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Rows whose sets of token triples overlap by a Jaccard index of 0.8 or more with a held-out or a surviving row.

    Candidate pairs come from MinHash in bands (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive
    Datasets, chapter 3); the index of a pair is then computed exactly. Held-out rows always survive; of the others
    the one with the smallest row id does, so the order of the pool plays no part.
    """
    ordered = [*sorted(held_out, key=_by_id), *sorted(rows, key=_by_id)]
    sets = [_row_shingles(row) for row in ordered]
    n_held = len(held_out)
    return [
        (ordered[row].row_index, _reason(kept, n_held), f"{ordered[kept].row_id} jaccard {similarity:.2f}")
        for row, kept, similarity in _resolve(_band_keys(sets), sets, n_held)
    ]


@dataclass(frozen=True)
class BandStep:
    """Returns the band keys of the rows at the places of a block (n x bands)."""

    table: PoolTable

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        return _band_keys([_row_shingles(row) for row in self.table.read(places)])


@dataclass(frozen=True)
class ShingleStep:
    """Returns the shingles of the rows at the places of a block."""

    table: PoolTable

    def __call__(self, places: NDArray[np.int64]) -> list[NDArray[np.uint32]]:
        return [_row_shingles(row) for row in self.table.read(places)]


def find_in_pool(
    engine: Engine, table: PoolTable, places: NDArray[np.int64], held_out: NDArray[np.int64]
) -> list[Finding]:
    """Return what `find` returns for the rows at some places: signatures are mapped and joined by band, and only rows
    that share a band with another are compared, here."""
    ordered = np.concatenate([np.sort(held_out), np.sort(places)])
    bands = list(engine.map(BandStep(table), cut(ordered, engine.block_cells)))
    keys = np.concatenate([np.zeros((0, BANDS), dtype=np.uint64), *bands])
    meeting = np.flatnonzero(_meets(keys))
    blocks = cut(ordered[meeting], engine.block_cells)
    sets = [each for block in engine.map(ShingleStep(table), blocks) for each in block]
    n_held = int(np.searchsorted(meeting, len(held_out)))
    places = ordered[meeting]
    return [
        (
            int(table.row_index[places[row]]),
            _reason(kept, n_held),
            f"{table.row_id(places[kept])} jaccard {similarity:.2f}",
        )
        for row, kept, similarity in _resolve(keys[meeting], sets, n_held)
    ]


def _meets(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether a row shares a band with another (n,)."""
    meets = np.zeros(len(keys), dtype=bool)
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        same = band[order[1:]] == band[order[:-1]]
        meets[order[1:][same]] = meets[order[:-1][same]] = True
    return meets


def _resolve(
    keys: NDArray[np.uint64], sets: Sequence[NDArray[np.uint32]], n_held: int
) -> Iterator[tuple[int, int, float]]:
    """Yield (row, the survivor it is near, their similarity), the rows in order; the first `n_held` always survive."""
    buckets: dict[int, list[int]] = {}
    for i, mine in enumerate(keys.tolist()):
        near = None if i < n_held else _nearest(i, mine, buckets, sets)
        if near is not None:
            yield i, *near
            continue
        for key in mine:
            bucket = buckets.setdefault(key, [])
            if len(bucket) < _BUCKET:
                bucket.append(i)


def _reason(kept: int, n_held: int) -> str:
    return "near_duplicate_of_holdout" if kept < n_held else "near_duplicate"


def _by_id(row: Row) -> tuple[str, int]:
    return row.row_id, row.row_index


def _row_shingles(row: Row) -> NDArray[np.uint32]:
    return shingles(f"{row.instruction}\n{row.output}")


def shingles(text: str) -> NDArray[np.uint32]:
    """The distinct hashes of every three tokens in a row (words and signs, case folded), sorted."""
    tokens = _TOKEN.findall(text.lower())[:_MAX_TOKENS]
    hashes = np.fromiter((zlib.crc32(t.encode("utf-8", "surrogatepass")) for t in tokens), np.uint32, len(tokens))
    if len(hashes) < SHINGLE_TOKENS:
        return np.unique(hashes)
    mixed = hashes[:-2] * np.uint32(0x9E3779B1) ^ hashes[1:-1] * np.uint32(0x85EBCA77) ^ hashes[2:]
    return np.unique(mixed)


def _band_keys(sets: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint64]:
    """For every set one number per band of its MinHash signature (n x bands)."""
    signatures = np.empty((len(sets), BANDS, BAND_ROWS), dtype=np.uint64)
    made = MinHash.generator((s.tolist() for s in sets), num_perm=BANDS * BAND_ROWS, hashfunc=int)
    for number, signature in enumerate(made):
        signatures[number] = signature.hashvalues.reshape(BANDS, BAND_ROWS)
    keys = np.tile(np.arange(BANDS, dtype=np.uint64), (len(sets), 1))
    for column in range(BAND_ROWS):
        keys = (keys * _MIX) ^ signatures[:, :, column]
        keys ^= keys >> np.uint64(29)
    return keys * _MIX


def _nearest(
    i: int, keys: Sequence[int], buckets: dict[int, list[int]], sets: Sequence[NDArray[np.uint32]]
) -> tuple[int, float] | None:
    """The first survivor that meets row `i` in a band and overlaps by at least `JACCARD`; and by how much."""
    for j in sorted({j for key in keys for j in buckets.get(key, ())}):
        similarity = jaccard(sets[i], sets[j])
        if similarity >= JACCARD:
            return j, similarity
    return None


def jaccard(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    """Shared members over all members of two sorted arrays of distinct values; two empty ones are equal."""
    if not len(a) and not len(b):
        return 1.0
    if min(len(a), len(b)) < JACCARD * max(len(a), len(b)):  # too unlike in size to reach the bound
        return 0.0
    shared = int(np.isin(a, b, assume_unique=True).sum())
    return shared / (len(a) + len(b) - shared)
