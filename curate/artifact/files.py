"""Files written whole or not at all: a temporary file beside the target, fsync, rename."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from curate.artifact.json_text import parse_json
from curate.errors import UserError


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Could not write {path}: {error.strerror or error}.",
            "Nothing was left half-written; free space or choose another place, then run the same command again.",
        ) from error


@contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file to write to; `path` appears, complete and synced, only when the block ends without an error."""
    target = Path(path)
    with _write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8 with the line ends as given."""
    write_bytes(path, text.encode("utf-8", "surrogatepass"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON; NaN is refused, because JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def json_line(row: Mapping[str, Any]) -> str:
    """One line of a JSONL file. Lone surrogates are escaped, so that the line is valid UTF-8."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        line = json.dumps(row, ensure_ascii=True, allow_nan=False)
    return line + "\n"


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line, atomically; the number of lines comes back."""
    count = 0
    with atomic_file(path) as file:
        for row in rows:
            file.write(json_line(row).encode())
            count += 1
    return count


def append_jsonl(path: str | Path, row: Mapping[str, Any]) -> None:
    """Append one line and sync it to disk, so that a killed process loses at most the line it was writing.

    Readers of such a file call `read_jsonl(..., allow_torn_end=True)`, which drops a last line without its line end.
    """
    target = Path(path)
    with _write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            file.write(json_line(row).encode())
            file.flush()
            os.fsync(file.fileno())


def read_jsonl(path: str | Path, *, allow_torn_end: bool = False) -> list[dict[str, Any]]:
    """The objects of a JSONL file; a broken line is a `UserError` with file and line number."""
    source = Path(path)
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{source} does not exist.", "Check the path.") from None
    if allow_torn_end and not data.endswith(b"\n"):
        data = data[: data.rfind(b"\n") + 1]
    return [row for _, row in parse_jsonl(data, source)]


def parse_jsonl(data: bytes, source: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that is not blank; a broken one is a `UserError` that names `source`."""
    rows = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            parsed = parse_json(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source}:{number}: byte {error.start + 1} is not UTF-8.", "Save the file as UTF-8."
            ) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source}:{number}: not a line of JSON ({error}).", "Mend or remove that line.") from None
        row = parsed.value
        if not isinstance(row, dict):
            raise UserError(
                f"{source}:{number}: a JSON {type(row).__name__}, not an object.", "Mend or remove that line."
            )
        if parsed.repeated:
            key = parsed.repeated[0][0]
            raise UserError(f'{source}:{number}: the key "{key}" has two values.', "Correct or remove that line.")
        rows.append((number, row))
    return rows


@contextmanager
def file_lock(path: str | Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (created when absent), so that two processes can share a cache."""
    target = Path(path)
    with _write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("ab")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
