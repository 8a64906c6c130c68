"""Caches whose every line, or every folder, carries the digest of what it holds and of what it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curate.artifact.digest import digest_file, digest_json
from curate.artifact.files import append_jsonl, refuse_constant, write_json, write_jsonl

SEAL = "seal"


def sealed(row: Mapping[str, Any], identity: Any) -> dict[str, Any]:
    """`row` with a seal: the digest of the row and of `identity`, which is all that decides it and is not in it."""
    return {**row, SEAL: digest_json([identity, row])[:32]}


def read_sealed(path: Path, identity: Any) -> tuple[list[dict[str, Any]], int]:
    """(rows whose seal fits, how many lines hold another seal or none) of a cache file; none where it is absent.

    A last line without its line end is what a killed process was writing; it counts neither way.
    """
    if not path.is_file():
        return [], 0
    data = path.read_bytes()
    lines = [line for line in data[: data.rfind(b"\n") + 1].split(b"\n") if line.strip()]
    rows = []
    for line in lines:
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=refuse_constant)
            seal = row.pop(SEAL)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        if seal == sealed(row, identity)[SEAL]:
            rows.append(row)
    return rows, len(lines) - len(rows)


def write_sealed(path: Path, rows: Iterable[Mapping[str, Any]], identity: Any) -> None:
    """Write a cache file anew, every line with its seal."""
    write_jsonl(path, (sealed(row, identity) for row in rows))


def append_sealed(path: Path, row: Mapping[str, Any], identity: Any) -> None:
    """Append one line with its seal and sync it to disk."""
    append_jsonl(path, sealed(row, identity))


def seal_folder(folder: Path, marker: str, **more: Any) -> None:
    """Write `folder/marker`, which says that the folder is complete and which digests its files have.

    `more` is kept beside them.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {name: digest_file(folder / name) for name in names if name != marker}
    write_json(folder / marker, {**more, "files": files, SEAL: digest_json([more, files])})


def read_folder_seal(folder: Path, marker: str) -> dict[str, Any] | None:
    """What `seal_folder` wrote, where every file is still as it was; None where anything differs or is missing."""
    try:
        content = json.loads((folder / marker).read_text(encoding="utf-8"), parse_constant=refuse_constant)
        seal, files = content.pop(SEAL), content.pop("files")
        fits = seal == digest_json([content, files]) and all(
            digest_file(folder / name) == digest for name, digest in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {**content, "files": files} if fits else None
