"""Files written whole or not at all: a temporary file beside the target, fsync, rename."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from curate.artifact.digest import digest_file, file_signature
from curate.artifact.json_text import parse_json
from curate.errors import UserError, missing_file

_written: dict[Path, tuple[tuple[int, ...], str]] = {}  # file -> how it looked when this process wrote it, its digest


class DigestingFile(io.BufferedIOBase):
    """A file open for writing that keeps the digest of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    @property
    def sha256(self) -> str:
        """Digest of the bytes written so far."""
        return self._digest.hexdigest()


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn what the system says while `path` is written into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Could not write {path}: {error.strerror or error}.",
            "Nothing was left half-written; free space or choose another place, then run the same command again.",
        ) from error


@contextmanager
def atomic_file(path: str | Path) -> Iterator[DigestingFile]:
    """A binary file to write to; `path` appears, complete and synced, only when the block ends without an error.

    The digest of what was written is kept for `digest_as_written`, so that a manifest signs no bytes but our own.
    """
    target = Path(path)
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                writing = DigestingFile(file)
                yield writing
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            Path(name).replace(target)
            _written[target.absolute()] = file_signature(target), writing.sha256
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def digest_as_written(path: str | Path) -> str:
    """Digest of the bytes that this process wrote to `path`; of the file as it stands where it wrote none.

    A file that was changed since, by another program, is a `UserError`: to sign it would be to call its rows ours.
    """
    signature, digest = _written.get(Path(path).absolute(), (None, None))
    if digest is None:
        return digest_file(path)
    if not Path(path).is_file() or file_signature(path) != signature:
        raise UserError(
            f"{path} was changed by another program while it was being written.",
            "End that program, then run the same command again.",
        )
    return digest


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
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _written.pop(target.absolute(), None)
        with target.open("ab") as file:
            file.write(json_line(row).encode())
            file.flush()
            os.fsync(file.fileno())


def refuse_constant(name: str) -> NoReturn:
    """Raise; for `json.loads(parse_constant=...)`: NaN and Infinity are no JSON, and no file of ours holds one."""
    raise ValueError(f"{name} is not JSON")


def read_jsonl(path: str | Path, *, allow_torn_end: bool = False) -> list[dict[str, Any]]:
    """The objects of a JSONL file; a broken line is a `UserError` with file and line number."""
    source = Path(path)
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        raise missing_file(source) from None
    if allow_torn_end and not data.endswith(b"\n"):
        data = data[: data.rfind(b"\n") + 1]
    return [row for _, row in parse_jsonl(data, source)]


def parse_jsonl(data: bytes, source: str | Path, *, ours: bool = False) -> list[tuple[int, dict[str, Any]]]:
    """(line number, object) of every line that is not blank; a broken one is a `UserError` that names `source`.

    In a file of `ours` NaN and Infinity are a fault; in anybody's else they are read as Python reads them.
    """
    rows = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            parsed = parse_json(line.decode("utf-8"), constant=refuse_constant if ours else None)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source}:{number}: byte {error.start + 1} is not UTF-8.", "Save the file as UTF-8."
            ) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source}:{number}: not a line of JSON ({error}).", "Fix or remove that line.") from None
        row = parsed.value
        if not isinstance(row, dict):
            raise UserError(
                f"{source}:{number}: a JSON {type(row).__name__}, not an object.", "Fix or remove that line."
            )
        if parsed.repeated:
            key = parsed.repeated[0][0]
            raise UserError(f'{source}:{number}: the key "{key}" has two values.', "Correct or remove that line.")
        rows.append((number, row))
    return rows
