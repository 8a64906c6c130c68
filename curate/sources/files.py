"""Rows from JSON, JSONL, CSV and Parquet, one file or a folder of them, on this machine or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from curate.engines.types import Engine
from curate.errors import UserError
from curate.pool.read_options import ReadOptions
from curate.pool.writer import PoolWriter
from curate.sources.folders import folder_notes, refuse_written, visible_files
from curate.sources.pieces import READERS, ReadStep, SourceFile, cut_pieces, ending, join_records, read_file
from curate.sources.reader import RowReader
from curate.sources.remote import list_remote
from curate.sources.types import LoadedPool


def looks_local(dataset: str) -> bool:
    """Whether `dataset` means a path: one that exists, one written like one, or one with a data file's ending."""
    written = dataset.startswith((".", "/", "~")) or "\\" in dataset or dataset.partition("@")[0].count("/") > 1
    return written or ending(Path(dataset)) in READERS or _exists(Path(dataset))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or a folder that may not be entered
        return False


def load_files(
    path: Path, columns: Mapping[str, str] | None, options: ReadOptions | None = None, engine: Engine | None = None
) -> LoadedPool:
    """The pool in a file, or in every data file below a folder in path order; `row_index` counts through all of them.

    Where there is more than a piece (16 MiB of files), the engine's workers read pieces side by side.
    """
    path = _expanded(path)
    data_files = _data_files(path)
    files = [
        SourceFile(str(file), file.relative_to(path).as_posix() if file != path else path.name, _size(file))
        for file in data_files
    ]
    reader = RowReader(columns, options or ReadOptions(), notes=folder_notes(path, data_files) if path.is_dir() else [])
    name = path.name if path.name.strip(".") else path.resolve().name  # "." and ".." name no folder
    return read_files(files, str(path), name, reader, engine)


def load_remote(
    url: str, columns: Mapping[str, str] | None, options: ReadOptions, engine: Engine | None = None
) -> LoadedPool:
    """The pool in the data files at or below an address such as s3://BUCKET/FOLDER, in path order.

    Each is copied to the machine that reads it, and removed when it is read; never are all here.
    """
    files = [SourceFile(*entry) for entry in list_remote(url) if ending(Path(entry[1])) in READERS]
    if not files:
        raise UserError(f"There is no {', '.join(READERS)} file at {url}.", "Check the address.")
    return read_files(files, url, url, RowReader(columns, options), engine)


def read_files(
    files: Sequence[SourceFile], where: str, name: str, reader: RowReader, engine: Engine | None
) -> LoadedPool:
    """Return the pool in some files, in their order."""
    reader.several_files = len(files) > 1
    pieces = cut_pieces(files)
    if engine is None or len(pieces) < 2:
        records = [read_file(reader, file) for piece in pieces for file in piece]
    else:
        records = []
        step = ReadStep(reader.for_part(PoolWriter()), reader.rows.folder())
        for number, read in enumerate(engine.map(step, list(enumerate(pieces)), heavy=True)):
            if not reader.agrees(read.reader):  # a column's meaning depends on the record it is first seen in
                read = ReadStep(reader, reader.rows.folder())((number, pieces[number]))
            reader.take_over(read.reader)
            records += read.files
    notes = reader.finish(where)
    rows = reader.rows.finish()
    return LoadedPool(rows, name, None, rows.digest(), join_records(records), notes, reader.excluded)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # whoever reads it says why
        return 0


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # ~name of nobody
        return path


def _data_files(path: Path) -> list[Path]:
    if not _exists(path):
        raise UserError(f"{path} does not exist.", "Check the path; a hub dataset is written OWNER/NAME.")
    if path.is_dir():
        refuse_written(path)
        inside = [(p.relative_to(path).parts, p) for p in visible_files(path) if ending(p) in READERS]
        files = [p for _, p in sorted(inside) if p.is_file() or p.is_symlink()]  # one that leads nowhere is said to
        if not files:
            raise UserError(f"The folder {path} holds no {', '.join(READERS)} file.", "Name another, or a file.")
        return files
    if ending(path) not in READERS or (path.suffix.lower() == ".gz" and ending(path) == ".parquet"):
        raise UserError(
            f'{path} has the ending "{path.suffix}", which is none of {", ".join(READERS)}.',
            "Unpack, convert or rename it; .gz may follow .json, .jsonl and .csv.",
        )
    return [path]
