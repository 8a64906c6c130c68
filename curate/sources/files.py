"""Rows from local JSON, JSONL, CSV and Parquet, one file or a folder of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from curate.artifact import digest_file
from curate.artifact.manifest_schema import FileRecord
from curate.errors import UserError
from curate.pool.read_options import ReadOptions
from curate.sources.csv_rows import csv_records
from curate.sources.json_rows import json_document, json_lines
from curate.sources.reader import RowReader
from curate.sources.types import LoadedPool

Records = Iterator[tuple[str, Mapping[str, Any]]]


def looks_local(dataset: str) -> bool:
    """Whether `dataset` means a path: one that exists, one written like one, or one with a data file's ending."""
    written = dataset.startswith((".", "/", "~")) or "\\" in dataset or dataset.partition("@")[0].count("/") > 1
    return written or _ending(Path(dataset)) in READERS or _exists(Path(dataset))


def _ending(path: Path) -> str:
    """The ending that says the format; that of what is compressed stands before `.gz`."""
    packed = path.suffix.lower() == ".gz"
    return Path(path.stem if packed else path.name).suffix.lower() if path.name else ""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or a folder that may not be entered
        return False


def load_files(path: Path, columns: Mapping[str, str] | None, options: ReadOptions | None = None) -> LoadedPool:
    """The pool in a file, or in every data file below a folder in path order; `row_index` counts through all of them.

    Files are read one after the other, Parquet piece by piece, any other kind whole.
    """
    path = _expanded(path)
    reader = RowReader(columns, options or ReadOptions())
    inputs: list[FileRecord] = []
    for file in _data_files(path):
        name = file.relative_to(path).as_posix() if file != path else path.name
        before = len(reader.rows)
        try:
            reader.read(READERS[_ending(file)](file, reader.notes), name)
            digest = digest_file(file)
        except OSError as error:
            raise UserError(f"Could not read {file}: {error.strerror or error}.", "Check its permissions.") from None
        inputs.append(FileRecord(file=name, sha256=digest, rows=len(reader.rows) - before))
    notes = reader.finish(str(path))
    rows = reader.rows.finish()
    return LoadedPool(rows, path.name, None, rows.digest(), inputs, notes, reader.excluded)


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # ~name of nobody
        return path


def _data_files(path: Path) -> list[Path]:
    if not _exists(path):
        raise UserError(f"{path} does not exist.", "Check the path; a hub dataset is written OWNER/NAME.")
    if path.is_dir():
        inside = [(p.relative_to(path).parts, p) for p in path.rglob("*") if _ending(p) in READERS]
        files = [p for parts, p in sorted(inside) if p.is_file() and not any(part.startswith(".") for part in parts)]
        if not files:
            raise UserError(f"The folder {path} holds no {', '.join(READERS)} file.", "Name another, or a file.")
        return files
    if _ending(path) not in READERS or (path.suffix.lower() == ".gz" and _ending(path) == ".parquet"):
        raise UserError(
            f'{path} has the ending "{path.suffix}", which is none of {", ".join(READERS)}.',
            "Unpack, convert or rename it; .gz may follow .json, .jsonl and .csv.",
        )
    return [path]


def _parquet(file: Path, notes: list[str]) -> Records:
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as source:
            names = source.schema_arrow.names
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UserError(f'{file} has two columns named "{twice[0]}".', "Rename one of them.")
            for batch in source.iter_batches(1024):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{file} row {number}", record
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 after row {number} ({error}).", "Write the text as UTF-8.") from None
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{file} is not a Parquet file that can be read ({error}).", "Write the file anew.") from None


READERS: dict[str, Callable[[Path, list[str]], Records]] = {
    ".json": json_document,
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".csv": csv_records,
    ".parquet": _parquet,
}
