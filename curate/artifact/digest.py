"""SHA-256 digests: the identity of everything this project writes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

_SETTLED_SECONDS = 2.0  # a file changed more recently than this could change again without its times showing it
_Signature = tuple[int, int, int, int, int]
_known: dict[str, tuple[_Signature, str]] = {}  # path -> what the file looked like when it was read, and its digest


def digest_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data` (64 characters)."""
    return hashlib.sha256(data).hexdigest()


def digest_text(text: str) -> str:
    """Hexadecimal SHA-256 of `text` in UTF-8; lone surrogates, which models and files do produce, are kept apart."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def digest_json(value: Any) -> str:
    """Digest of `value` written as JSON with sorted keys, so that equal values have equal digests."""
    return digest_text(json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")))


def file_signature(path: str | Path) -> _Signature:
    """What tells a file from a changed one without reading it: device, inode, size, times of change."""
    status = Path(path).stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def digest_file(path: str | Path) -> str:
    """Digest of a file's bytes, read in pieces of 1 MiB; in one process an unchanged file is read once.

    Unchanged means the same inode, size and times, the time of the inode's own change among them, which no program can
    set back. A file changed in the last seconds is read each time, because a second change would not move its times.
    What is not noticed: bits that the disk loses below an unchanged inode after they were read in this process.
    """
    place = os.path.abspath(path)  # noqa: PTH100  (resolve() would cost a system call a folder)
    before = file_signature(path)
    if place in _known and _known[place][0] == before:
        return _known[place][1]
    result = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            result.update(piece)
    settled = time.time() - before[-1] / 1e9 > _SETTLED_SECONDS
    if settled and file_signature(path) == before:
        _known[place] = before, result.hexdigest()
    return result.hexdigest()


def digest_folder(path: str | Path) -> str:
    """Digest over the names and bytes of every file below `path`, in name order."""
    root = Path(path)
    return digest_json({str(p.relative_to(root)): digest_file(p) for p in sorted(root.rglob("*")) if p.is_file()})
