"""Rows from local JSON, JSONL, CSV and Parquet, one file or a folder of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curate.errors import UserError
from curate.rows import Row, build_row
from curate.sources import LoadedPool, pool_digest
from curate.sources.columns import UnusableRow, read_pair, recognise

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")


def looks_local(dataset: str) -> bool:
    """Whether `dataset` means a path: one that exists, one written like one, or one with a data file's ending."""
    return Path(dataset).exists() or dataset.startswith((".", "/", "~")) or dataset.lower().endswith(SUFFIXES)


def load_files(path: Path, columns: Mapping[str, str] | None) -> LoadedPool:
    """The pool in a file, or in every data file of a folder in name order; `row_index` counts through all of them."""
    from curate.artifact.digest import digest_file
    from curate.artifact.manifest_schema import FileRecord

    path = path.expanduser()
    rows: list[Row] = []
    inputs: list[FileRecord] = []
    excluded: dict[int, tuple[str, str | None]] = {}
    for file in _data_files(path):
        before = len(rows)
        mapping: Mapping[str, str] | None = None
        for where, record in _records(file):
            if mapping is None:
                mapping = recognise(set(record), columns, str(file))
            _require_columns(record, mapping, where)
            try:
                pair = read_pair(record, mapping, where)
            except UnusableRow as unusable:
                excluded[len(rows)] = (unusable.reason, unusable.detail)
                pair = (json.dumps(record.get("messages"), ensure_ascii=False), "")
            rows.append(build_row(len(rows), *pair, source=file.name))
        inputs.append(FileRecord(file=file.name, sha256=digest_file(file), rows=len(rows) - before))
    if not rows:
        raise UserError(f"{path} holds no rows.", "Name a file with at least one row.")
    return LoadedPool(rows, path.name, None, pool_digest(rows), inputs, [], excluded)


def _data_files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise UserError(f"{path} holds no {', '.join(SUFFIXES)} file.", "Name another folder or a file.")
        return files
    if not path.exists():
        raise UserError(f"{path} does not exist.", "Check the path; a hub dataset is named OWNER/NAME.")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} has an ending that is not known.", f"Allowed: {', '.join(SUFFIXES)}.")
    return [path]


def _require_columns(record: Mapping[str, Any], mapping: Mapping[str, str], where: str) -> None:
    absent = [name for name in (mapping.values() if mapping else ("messages",)) if name not in record]
    if absent:
        raise UserError(f'{where}: no field "{absent[0]}".', f"Its fields: {', '.join(map(str, record))}.")


def _records(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place for messages, record) of every row of one file."""
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(file)
    elif suffix == ".jsonl":
        yield from _json_lines(file)
    elif suffix == ".csv":
        yield from _csv(file)
    else:
        yield from _json(file)


def _read_text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"Could not read {file}: {error.strerror}.", "Check the path and its permissions.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}:{line}: not UTF-8 (byte {error.start}).", "Convert the file to UTF-8.") from None


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a JSON {type(value).__name__}, not an object.", "Write one object a row.")
    return value


def _json_lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        if line.strip():
            where = f"{file}:{number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where}: broken JSON ({error}).", "Mend or remove that line.") from None
            yield where, _object(value, where)


def _json(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = _read_text(file)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(
            f"{file}:{line}: broken JSON ({error}).", "One object a line belongs into a .jsonl file."
        ) from None
    if isinstance(value, dict):
        value = value.get("data", value.get("rows", [value]))
    if not isinstance(value, list):
        raise UserError(f"{file} holds a JSON {type(value).__name__}, not a list of rows.", "Write a list of objects.")
    for number, each in enumerate(value, start=1):
        yield f"{file} row {number}", _object(each, f"{file} row {number}")


def _csv(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = _read_text(file)
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for record in reader:
            if None in record:
                raise UserError(f"{file}:{reader.line_num}: more fields than the header.", "Mend that line.")
            yield f"{file}:{reader.line_num}", record
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num}: broken CSV ({error}).", "Mend that line.") from None


def _parquet(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as source:
            number = 0
            for batch in source.iter_batches(4096):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{file} row {number}", record
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{file} is not a Parquet file that can be read ({error}).", "Check the file.") from None
