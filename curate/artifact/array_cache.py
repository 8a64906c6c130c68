"""Arrays that cost time to compute, kept on disk under the digest of what they were computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.artifact import atomic_file, cache_dir, digest_text, file_lock
from curate.console import say

_SEAL_BYTES = 64  # behind the array, where `np.load` does not look: the digest of its key and of all bytes before


def cached_array(
    folder: str, key: str, what: str, fits: Callable[[NDArray[Any]], bool], compute: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """The array stored as `cache/<folder>/<key>.npy`, computed and stored where it is absent.

    A file whose seal does not fit its bytes and its key, or whose array does not `fits`, is computed again, and said.
    Two processes that want the same array compute it once: the second waits for the first.
    """
    path = cache_dir(folder) / f"{key}.npy"
    with file_lock(path.with_suffix(".lock")):
        stored = stored_array(folder, key)
        if stored is not None and fits(stored):
            return stored
        if path.exists():
            say(f"The cached {what} {path} were damaged; computing them again.")

        computed = compute()
        with atomic_file(path) as file:
            np.save(file, computed, allow_pickle=False)
            file.write(_seal(key, file.sha256).encode())
    return computed


def streamed_array(
    folder: str, key: str, what: str, n_rows: int, blocks: Callable[[], Iterable[NDArray[np.float32]]]
) -> NDArray[np.float32]:
    """The matrix stored as `cache/<folder>/<key>.npy`, mapped; where it is absent, written block by block.

    It is never in memory as a whole. Otherwise as `cached_array`.
    """
    path = cache_dir(folder) / f"{key}.npy"
    with file_lock(path.with_suffix(".lock")):
        stored = stored_array(folder, key, mapped=True)
        if stored is not None and stored.dtype == "float32" and stored.ndim == 2 and len(stored) == n_rows:
            return stored
        if path.exists():
            say(f"The cached {what} {path} were damaged; computing them again.")
        with atomic_file(path) as file:
            for number, block in enumerate(blocks()):
                if number == 0:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, block.shape[1])}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(block, dtype="<f4").data)
            file.write(_seal(key, file.sha256).encode())
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def stored_array(folder: str, key: str, *, mapped: bool = False) -> NDArray[Any] | None:
    """The array as it was stored, or None where there is none, or where it is not the one stored under this key."""
    path = cache_dir(folder) / f"{key}.npy"
    try:
        if not _is_sealed(path, key):
            return None
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError):
        return None


def _seal(key: str, content: str) -> str:
    return digest_text(f"{key} {content}")


def _is_sealed(path: Path, key: str) -> bool:
    left = path.stat().st_size - _SEAL_BYTES
    content = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            content.update(piece)
            left -= len(piece)
        return left == 0 and file.read() == _seal(key, content.hexdigest()).encode()
