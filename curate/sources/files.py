"""Rows from local JSON, JSONL, CSV and Parquet, one file or a folder of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from curate.artifact import digest_file
from curate.artifact.manifest_schema import FileRecord
from curate.errors import UserError
from curate.sources.columns import RowReader
from curate.sources.types import LoadedPool, pool_digest

UTF8_BOM = b"\xef\xbb\xbf"
Records = Iterator[tuple[str, Mapping[str, Any]]]


def looks_local(dataset: str) -> bool:
    """Whether `dataset` means a path: one that exists, one written like one, or one with a data file's ending."""
    written = dataset.startswith((".", "/", "~")) or "\\" in dataset or dataset.partition("@")[0].count("/") > 1
    return written or dataset.lower().endswith(tuple(READERS)) or _exists(Path(dataset))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or a folder that may not be entered
        return False


def load_files(path: Path, columns: Mapping[str, str] | None) -> LoadedPool:
    """The pool in a file, or in every data file below a folder in path order; `row_index` counts through all of them.

    A file is read whole: a row may be megabytes long, a file should fit into memory.
    """
    path = _expanded(path)
    reader = RowReader(columns)
    inputs: list[FileRecord] = []
    for file in _data_files(path):
        name = file.relative_to(path).as_posix() if file != path else path.name
        before = len(reader.rows)
        try:
            reader.read(READERS[file.suffix.lower()](file), name)
            digest = digest_file(file)
        except OSError as error:
            raise UserError(f"Could not read {file}: {error.strerror or error}.", "Check its permissions.") from None
        inputs.append(FileRecord(file=name, sha256=digest, rows=len(reader.rows) - before))
    notes = reader.finish(str(path))
    return LoadedPool(reader.rows, path.name, None, pool_digest(reader.rows), inputs, notes, reader.excluded)


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # ~name of nobody
        return path


def _data_files(path: Path) -> list[Path]:
    if not _exists(path):
        raise UserError(f"{path} does not exist.", "Check the path; a hub dataset is written OWNER/NAME.")
    if path.is_dir():
        inside = [(p.relative_to(path).parts, p) for p in path.rglob("*") if p.suffix.lower() in READERS]
        files = [p for parts, p in sorted(inside) if p.is_file() and not any(part.startswith(".") for part in parts)]
        if not files:
            raise UserError(f"The folder {path} holds no {', '.join(READERS)} file.", "Name another, or a file.")
        return files
    if path.suffix.lower() not in READERS:
        raise UserError(
            f'{path} has the ending "{path.suffix}", which is none of {", ".join(READERS)}.',
            "Unpack, convert or rename it.",
        )
    return [path]


def _read_text(file: Path) -> str:
    data = file.read_bytes().removeprefix(UTF8_BOM)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        offset = error.start + file.stat().st_size - len(data)
        raise UserError(
            f"{file}:{line}: not UTF-8 (byte {data[error.start]:#04x} at offset {offset}).",
            f"Convert the file, for example: iconv -f LATIN1 -t UTF-8 {file.name}",
        ) from None


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{place}: a JSON {type(value).__name__}, not an object.", "Write one object for every row.")
    return value


def _json_lines(file: Path) -> Records:
    yield from _lines(file, _read_text(file))


def _lines(file: Path, text: str) -> Records:
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines(): rows contain other line breaks
        if line.strip():
            place = f"{file}:{number}"
            try:
                value = json.loads(line, strict=False)  # raw control characters in a text are taken as they are
            except (ValueError, RecursionError) as error:
                raise UserError(f"{place}: broken JSON ({error}).", "Mend or remove that line.") from None
            yield place, _object(value, place)


def _json(file: Path) -> Records:
    text = _read_text(file)
    if not text.strip():
        return
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data") and text.lstrip().startswith("{"):
            yield from _lines(file, text)  # one object a line, under the ending .json
            return
        place = f"{file}:{getattr(error, 'lineno', 1)}"
        raise UserError(f"{place}: broken JSON ({error}).", "Mend the file.") from None
    if isinstance(value, dict):
        value = value.get("data", [value])
    if not isinstance(value, list):
        raise UserError(
            f"{file} holds a JSON {type(value).__name__}, not rows.", 'Write a list of objects, or {"data": [...]}.'
        )
    for number, each in enumerate(value, start=1):
        yield f"{file} row {number}", _object(each, f"{file} row {number}")


def _csv(file: Path) -> Records:
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.StringIO(_read_text(file), newline=""), strict=True)
    line = 1
    try:
        names = list(reader.fieldnames or [])
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f'{file} has two columns named "{twice[0]}".', "Rename one of them.")
        if len(names) == 1 and set(names[0]) & set(";\t|"):
            raise UserError(f'{file} has one column, "{names[0]}".', "Write it anew with commas between the columns.")
        while True:
            line = reader.line_num + 1  # where the record begins: a quote left open is noticed at the end of the file
            record = next(reader, None)
            if record is None:
                return
            place = f"{file}:{line}"
            if None in record or None in record.values():
                difference = "more" if None in record else "fewer"
                raise UserError(f"{place}: {difference} fields than the header has.", "Mend that line.")
            yield place, record
    except csv.Error as error:
        raise UserError(f"{file}:{line}: broken CSV ({error}).", "Mend that line.") from None


def _parquet(file: Path) -> Records:
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as source:
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


READERS = {".json": _json, ".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
