"""Arrays that cost time to compute, kept on disk under the digest of what they were computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.artifact import atomic_file, cache_dir, file_lock
from curate.console import say


def cached_array(
    folder: str, key: str, what: str, fits: Callable[[NDArray[Any]], bool], compute: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """The array stored as `cache/<folder>/<key>.npy`, computed and stored where it is absent.

    A file that was cut short, or whose array does not `fits`, is computed again, and said. Two processes that want the
    same array compute it once: the second waits for the first.
    """
    path = cache_dir(folder) / f"{key}.npy"
    with file_lock(path.with_suffix(".lock")):
        found = stored_array(folder, key)
        if found is not None and fits(found):
            return found
        if path.exists():
            say(f"The cached {what} {path} were damaged; computing them again.")

        made = compute()
        with atomic_file(path) as file:
            np.save(file, made, allow_pickle=False)
    return made


def stored_array(folder: str, key: str) -> NDArray[Any] | None:
    """The array as it is stored, or None where there is none or it cannot be read."""
    try:
        return np.asarray(np.load(cache_dir(folder) / f"{key}.npy", allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None
