"""The files of an artifact held against the digests that its manifest recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from curate.artifact.digest import digest_bytes, digest_file
from curate.artifact.manifest_schema import FileRecord, Manifest
from curate.errors import UserError

CHANGED = ".changed"  # what the name of a changed file gets when the file is made again


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be, and how."""

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}."


MISSING = "is missing"
OTHER = "is not the file its manifest describes"


def damaged_files(folder: Path, manifest: Manifest, wanted: Callable[[str], bool] = lambda name: True) -> list[Damage]:
    """The outputs of the manifest, of those whose name is `wanted`, that are missing or have another digest."""
    return _damaged(folder, (record for record in manifest.outputs if wanted(record.file)))


def _damaged(folder: Path, records: Iterable[FileRecord]) -> list[Damage]:
    damaged = []
    for record in records:
        path = folder / record.file
        try:
            problem = None if digest_file(path) == record.sha256 else OTHER
        except FileNotFoundError:
            problem = MISSING
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        if problem is not None:
            damaged.append(Damage(path, problem))
    return damaged


def require_whole(
    folder: Path, manifest: Manifest, next_step: str, wanted: Callable[[str], bool] = lambda name: True
) -> None:
    """Raise a `UserError` that names every damaged output of those `wanted`."""
    damaged = damaged_files(folder, manifest, wanted)
    if damaged:
        raise UserError(" ".join(map(str, damaged)), next_step)


def read_output(folder: Path, manifest: Manifest, name: str, next_step: str) -> bytes:
    """The bytes of an output, read once and held against the manifest's digest; it must be among the outputs."""
    recorded = next((record.sha256 for record in manifest.outputs if record.file == name), None)
    path = folder / name
    if recorded is None:
        raise UserError(f"The manifest of {folder} lists no {name}.", next_step)
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = MISSING if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UserError(f"{path} {problem}.", next_step) from None
    if digest_bytes(data) != recorded:
        raise UserError(f"{path} {OTHER}.", next_step)
    return data


def set_aside(path: Path) -> Path | None:
    """Rename a changed file, so that making it again loses nothing somebody wrote; None where there is nothing."""
    if not path.is_file() or path.stat().st_size == 0:
        return None
    return path.rename(path.with_name(path.name + CHANGED))
