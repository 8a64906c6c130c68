"""Code and prose as streams of numbers in which formatting, and where wanted names, leave no trace."""

from __future__ import annotations

import builtins
import keyword
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MAX_CHARS = 50_000  # of a row; what stands beyond is not looked at
_TOKEN = re.compile(
    r"""[rbuRBU]{0,2}(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3})"""
    r"""|[rbfuRBFU]{0,2}(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|\#[^\n]*|[^\W\d]\w*|\d[\w.]*|\*\*|//|[=!<>]=|->|[-+*/%&|^~<>=.\[\]{}]"""
)
_WORD = re.compile(r"[^\W\d_]+|\d+")
_FIXED = frozenset(keyword.kwlist) | frozenset(dir(builtins)) | {"self", "cls"}
_DROPPED, _DOT = 0, 2  # numbers no token has: names are odd, everything else is even


@lru_cache(maxsize=1_000_000)
def _number(token: str) -> int:
    """The number of a token; that of a name that can be renamed is odd, of any other even, of a dropped one 0."""
    if token == ".":
        return _DOT
    first = token[0]
    if first == "#" or token.endswith(('"""', "'''")):
        return _DROPPED
    if first.isalpha() or first == "_":
        if token[-1] in "\"'":
            token = '"' + token.lstrip("rbfuRBFU")[1:-1]
        elif token not in _FIXED:
            return _hash(token) | 1
    elif first in "\"'":
        token = '"' + token[1:-1]
    return _hash(token) & ~1


@lru_cache(maxsize=1_000_000)
def _hash(token: str) -> int:
    data = token.encode("utf-8", "surrogatepass")
    return (zlib.crc32(data) << 30 | zlib.crc32(data, 0x5EED) >> 2) + 4


@dataclass(frozen=True)
class Streams:
    """Many texts behind one another: `values` of all tokens, the `row` each is of, whether it is a renamable `name`."""

    values: NDArray[np.uint64]
    row: NDArray[np.int32]
    name: NDArray[np.bool_]

    def only(self, rows: Collection[int]) -> Streams:
        """The streams of these rows, under their numbers."""
        kept = np.isin(self.row, np.array(sorted(rows), dtype=np.int32))
        return Streams(self.values[kept], self.row[kept], self.name[kept])


def code_streams(texts: Sequence[str]) -> Streams:
    """The code tokens of every text.

    White space, comments, docstrings, brackets, commas and colons are left out, quotes are all alike, and what follows
    a dot is no name that could be renamed.
    """
    streams = _build([list(map(_number, _TOKEN.findall(text[:MAX_CHARS]))) for text in texts])
    after_dot = np.zeros(len(streams.values), dtype=bool)
    after_dot[1:] = streams.values[:-1] == _DOT
    kept = streams.values > _DOT
    name = (streams.values & np.uint64(1)).astype(bool) & ~after_dot
    return Streams(streams.values[kept], streams.row[kept], name[kept])


def word_streams(texts: Sequence[str]) -> Streams:
    """The words and numbers of every text, case folded."""
    streams = _build([list(map(_hash, _WORD.findall(text[:MAX_CHARS].lower()))) for text in texts])
    return Streams(streams.values, streams.row, np.zeros(len(streams.values), dtype=bool))


def _build(numbers: list[list[int]]) -> Streams:
    lengths = np.array([len(each) for each in numbers], dtype=np.int64)
    values = np.fromiter((n for each in numbers for n in each), np.uint64, int(lengths.sum()))
    return Streams(
        values, np.repeat(np.arange(len(numbers), dtype=np.int32), lengths), np.zeros(len(values), dtype=bool)
    )


def windows(streams: Streams, length: int, *, renamed: bool) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A hash of every run of `length` tokens inside one text, and where the run begins.

    With `renamed`, a name counts only by how far back in the run the same name stands, so that consistent renaming
    changes no hash (the encoding of parameterized matching: Baker, 1993).
    """
    n = len(streams.values) - length + 1
    if n <= 0:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    back = _distance_back(streams) if renamed else None
    hashes = np.zeros(n, dtype=np.uint64)
    for j in range(length):
        value = streams.values[j : j + n]
        if back is not None:
            seen = back[j : j + n]
            value = np.where(
                streams.name[j : j + n], np.where(seen <= j, seen, 0).astype(np.uint64) + np.uint64(5), value
            )
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + value * np.uint64(0xD6E8FEB86659FD93)
        hashes ^= hashes >> np.uint64(29)
    inside = streams.row[:n] == streams.row[length - 1 : length - 1 + n]
    return hashes[inside], np.flatnonzero(inside)


def _distance_back(streams: Streams) -> NDArray[np.int64]:
    """How many tokens ago the same token stood last in its text; a huge number where it did not."""
    key = streams.values ^ (streams.row.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F))
    order = np.argsort(key, kind="stable")
    same = key[order[1:]] == key[order[:-1]]
    back = np.full(len(key), np.iinfo(np.int64).max, dtype=np.int64)
    back[order[1:][same]] = order[1:][same] - order[:-1][same]
    return back
