"""What the shared cache holds, and freeing it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from curate.artifact import home


@dataclass(frozen=True)
class CachePart:
    """One folder of the cache: `name` (embeddings, encoders, scores...), number of files, bytes."""

    name: str
    files: int
    bytes: int


def list_caches() -> list[CachePart]:
    """The parts of `$ROWPICK_HOME/cache`, largest first; empty where nothing is cached."""
    root = home() / "cache"
    parts = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []:
        files = [p for p in folder.rglob("*") if p.is_file()]
        parts.append(CachePart(folder.name, len(files), sum(p.stat().st_size for p in files)))
    return sorted(parts, key=lambda part: (-part.bytes, part.name))


def free_caches() -> int:
    """Remove the whole cache; the bytes that were freed come back. Everything in it can be computed again."""
    freed = sum(part.bytes for part in list_caches())
    root: Path = home() / "cache"
    if root.is_dir():
        shutil.rmtree(root)
    return freed
