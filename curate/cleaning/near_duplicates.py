"""Rows that share nearly all their tokens with another, found by MinHash."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from datasketch import MinHash
from numpy.typing import NDArray

from curate.pool.rows import Finding, Row

JACCARD = 0.8
SHINGLE_TOKENS = 3
# 16 bands of 6: two rows with a similarity of 0.8 meet in a band with 99% probability, of 0.5 with 22%.
BANDS, BAND_ROWS = 16, 6
_MAX_TOKENS = 20_000
# Survivors a bucket remembers. In a pool written from one template thousands meet without being near enough, and
# comparing with all of them would take time that grows with the square of the pool.
_BUCKET = 20
_TOKEN = re.compile(r"\w+|[^\w\s]")


def find(rows: Sequence[Row], held_out: Sequence[Row]) -> list[Finding]:
    """Rows whose sets of token triples overlap by a Jaccard index of 0.8 or more with a held-out or a surviving row.

    Candidate pairs come from MinHash in bands (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive
    Datasets, chapter 3); the index of a pair is then computed exactly. Held-out rows always survive; of the others
    the one with the smallest row id does, so the order of the pool plays no part.
    """
    ordered = [*sorted(held_out, key=_by_id), *sorted(rows, key=_by_id)]
    n_held = len(held_out)
    sets: list[NDArray[np.uint32]] = [shingles(f"{row.instruction}\n{row.output}") for row in ordered]
    keys = _band_keys(sets)
    buckets: dict[int, list[int]] = {}
    found: list[Finding] = []
    for i, row in enumerate(ordered):
        near = None if i < n_held else _nearest(i, keys[i], buckets, sets)
        if near is None:
            for key in keys[i]:
                bucket = buckets.setdefault(key, [])
                if len(bucket) < _BUCKET:
                    bucket.append(i)
        else:
            kept, similarity = near
            reason = "near_duplicate_of_holdout" if kept < n_held else "near_duplicate"
            found.append((row.row_index, reason, f"{ordered[kept].row_id} jaccard {similarity:.2f}"))
    return found


def _by_id(row: Row) -> tuple[str, int]:
    return row.row_id, row.row_index


def shingles(text: str) -> NDArray[np.uint32]:
    """The distinct hashes of every three tokens in a row (words and signs, case folded), sorted."""
    tokens = _TOKEN.findall(text.lower())[:_MAX_TOKENS]
    hashes = np.fromiter((zlib.crc32(t.encode("utf-8", "surrogatepass")) for t in tokens), np.uint32, len(tokens))
    if len(hashes) < SHINGLE_TOKENS:
        return np.unique(hashes)
    mixed = hashes[:-2] * np.uint32(0x9E3779B1) ^ hashes[1:-1] * np.uint32(0x85EBCA77) ^ hashes[2:]
    return np.unique(mixed)


def _band_keys(sets: Sequence[NDArray[np.uint32]]) -> list[list[int]]:
    """For every set one number per band of its MinHash signature."""
    keys = []
    for signature in MinHash.generator((s.tolist() for s in sets), num_perm=BANDS * BAND_ROWS, hashfunc=int):
        bands = signature.hashvalues.reshape(BANDS, BAND_ROWS).tolist()
        keys.append([hash((number, *band)) for number, band in enumerate(bands)])
    return keys


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
