"""The files of a source in pieces that are read apart: small files together, a large Parquet file by its row groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from curate.artifact import digest_file
from curate.artifact.manifest_schema import FileRecord
from curate.errors import UserError
from curate.pool.read_options import is_remote
from curate.pool.writer import PoolWriter
from curate.sources.csv_rows import csv_records
from curate.sources.json_rows import Fits, json_document, json_lines
from curate.sources.reader import RowReader
from curate.sources.remote import local_copy

PIECE_BYTES = 16 << 20  # of files; what a piece has at least, where there is so much
Records = Iterator[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, or the row groups from `groups[0]` to before `groups[1]` of a Parquet file.

    `name` is what the rows' `source` says: the path below the source.
    """

    path: str
    name: str
    size: int
    groups: tuple[int, int] | None = None


Piece = tuple[SourceFile, ...]


@dataclass(frozen=True)
class PieceRead:
    """What reading a piece gave: the reader with all rows put aside, and a record of every file that begins in it."""

    reader: RowReader
    files: tuple[FileRecord, ...]


@dataclass(frozen=True)
class ReadStep:
    """Reads a numbered piece; its rows go into runs below `folder`, which the workers share with the driver."""

    reader: RowReader
    folder: str
    advice = "Write smaller files, or start Ray with fewer --num-cpus on that node."  # where memory runs out

    def __call__(self, numbered: tuple[int, Piece]) -> PieceRead:
        number, piece = numbered
        reader = self.reader.for_part(PoolWriter(self.folder, number))
        records = tuple(read_file(reader, file) for file in piece)
        reader.rows.put_aside()
        return PieceRead(reader, records)


def read_file(reader: RowReader, file: SourceFile) -> FileRecord:
    """Read a file, or its row groups, and return its record; only that of a file's first groups has a digest.

    A remote file is copied here for that long.
    """
    before = len(reader.rows)
    begins = file.groups is None or file.groups[0] == 0
    with local_copy(file.path) as path:
        try:
            if file.groups is None:
                records = READERS[ending(path)](path, reader.notes, reader.fits)
            else:
                records = parquet_records(path, reader.notes, reader.fits, file.groups)
            reader.read(records, file.name)
            digest = digest_file(path) if begins else ""
        except OSError as error:
            raise UserError(f"Could not read {path}: {error.strerror or error}.", "Check its permissions.") from None
    return FileRecord(file=file.name, sha256=digest, rows=len(reader.rows) - before)


def cut_pieces(files: Sequence[SourceFile]) -> list[Piece]:
    """Return the files in pieces of `PIECE_BYTES` or a little more, in order; where they are cut decides nothing."""
    pieces: list[Piece] = []
    waiting: list[SourceFile] = []
    for file in chain.from_iterable(map(_parts, files)):
        waiting.append(file)
        if sum(each.size for each in waiting) >= PIECE_BYTES:
            pieces.append(tuple(waiting))
            waiting = []
    return [*pieces, tuple(waiting)] if waiting else pieces


def _parts(file: SourceFile) -> list[SourceFile]:
    """A Parquet file of this machine of several pieces' size as runs of row groups; any other as it is."""
    if file.size < 2 * PIECE_BYTES or ending(Path(file.path)) != ".parquet" or is_remote(file.path):
        return [file]
    try:
        with pyarrow.parquet.ParquetFile(file.path) as source:
            sizes = [source.metadata.row_group(i).total_byte_size for i in range(source.num_row_groups)]
    except (pyarrow.ArrowException, OSError):
        return [file]  # whoever reads it says what is wrong
    parts: list[SourceFile] = []
    begin = size = 0
    for number, of_group in enumerate(sizes, start=1):
        size += of_group
        if size >= PIECE_BYTES or number == len(sizes):
            parts.append(replace(file, size=size, groups=(begin, number)))
            begin, size = number, 0
    return parts or [file]


def join_records(records: Sequence[FileRecord]) -> list[FileRecord]:
    """Return one record a file: rows of the groups that were read apart are added up."""
    joined: list[FileRecord] = []
    for record in records:
        if record.sha256:
            joined.append(record)
        else:
            joined[-1] = joined[-1].model_copy(update={"rows": (joined[-1].rows or 0) + (record.rows or 0)})
    return joined


def ending(path: Path) -> str:
    """Return the ending that says the format; that of what is compressed stands before `.gz`."""
    packed = path.suffix.lower() == ".gz"
    return Path(path.stem if packed else path.name).suffix.lower() if path.name else ""


def parquet_records(file: Path, notes: list[str], fits: Fits, groups: tuple[int, int] | None = None) -> Records:
    """Yield the records of a Parquet file, or of some of its row groups, read 1,024 at a time."""
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as source:
            names = source.schema_arrow.names
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UserError(f'{file} has two columns named "{twice[0]}".', "Rename one of them.")
            begin, end = groups or (0, source.num_row_groups)
            number = sum(source.metadata.row_group(i).num_rows for i in range(begin))
            for batch in source.iter_batches(1024, row_groups=range(begin, end)):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{file} row {number}", record
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 after row {number} ({error}).", "Write the text as UTF-8.") from None
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{file} is not a Parquet file that can be read ({error}).", "Write the file anew.") from None


READERS: dict[str, Callable[[Path, list[str], Fits], Records]] = {
    ".json": json_document,
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".csv": csv_records,
    ".parquet": parquet_records,
}
