"""SHA-256 digests: the identity of everything this project writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data` (64 characters)."""
    return hashlib.sha256(data).hexdigest()


def digest_text(text: str) -> str:
    """Hexadecimal SHA-256 of `text` in UTF-8; lone surrogates, which models and files do produce, are kept apart."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def digest_json(value: Any) -> str:
    """Digest of `value` written as JSON with sorted keys, so that equal values have equal digests."""
    return digest_text(json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")))


def digest_file(path: str | Path) -> str:
    """Digest of a file's bytes, read in pieces of 1 MiB."""
    result = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            result.update(piece)
    return result.hexdigest()


def digest_folder(path: str | Path) -> str:
    """Digest over the names and bytes of every file below `path`, in name order."""
    root = Path(path)
    return digest_json({str(p.relative_to(root)): digest_file(p) for p in sorted(root.rglob("*")) if p.is_file()})
