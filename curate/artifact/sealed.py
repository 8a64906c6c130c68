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
    content = _read_marker(folder / marker)
    return None if content is None or changed_files(folder, content["files"]) else content


def bad_files(folder: Path, marker: str) -> list[Path]:
    """The files of a sealed folder that are not as they were: the marker itself where that cannot be trusted."""
    content = _read_marker(folder / marker)
    return [folder / marker] if content is None else changed_files(folder, content["files"])


def changed_files(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Those of `files`, given by name and digest, that are missing from `folder` or have another digest."""
    paths = {folder / name: digest for name, digest in files.items()}
    return [path for path, digest in paths.items() if not path.is_file() or digest_file(path) != digest]


def _read_marker(path: Path) -> dict[str, Any] | None:
    """The content of a marker whose own seal fits."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
        seal, files = content.pop(SEAL), content.pop("files")
        return {**content, "files": files} if seal == digest_json([content, files]) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
