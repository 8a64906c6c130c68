"""Records from JSON and JSONL: lists, one object a line, the layouts of a pandas table, files of several splits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from curate.artifact.json_text import ParsedJson, objects_in, parse_json
from curate.errors import UserError
from curate.sources.encodings import read_text, text_lines
from curate.sources.fields import is_objects
from curate.sources.shapes import fits

MARK = "\ufeff"  # what is left of a byte order mark where files were joined
SPLIT = "train"
_LISTS = (SPLIT, "data", "rows", "examples", "records", "samples")  # what people call the list of rows in an object
_WANTED = 'Write a list of objects, or one object a line; from pandas: df.to_json(FILE, orient="records", lines=True).'
Records = Iterator[tuple[str, Mapping[str, Any]]]


def json_lines(file: Path, notes: list[str]) -> Records:
    """One object a line; a file that holds one JSON document of rows, under whatever ending, is read as that.

    Lines are read one by one, so that no more than a line of the file is in memory; a document is read whole.
    """
    if _begins_with_objects(file):
        yield from _lines(file, text_lines(file))
        return
    text = read_text(file)
    try:
        parsed = parse_json(text, strict=False)  # ends at the second line's first character where there is one a line
    except (ValueError, RecursionError):
        parsed = None
    if parsed is not None and _holds_rows(parsed.value):
        yield from _rows(parsed, file, notes)
    else:
        yield from _lines(file, text.split("\n"))


def _begins_with_objects(file: Path) -> bool:
    """Whether the first line that is not blank is an object, and the next one may be."""
    lines = (line.strip().strip(MARK) for line in text_lines(file))
    first, second = islice(chain(filter(None, lines), ("", "")), 2)
    try:
        return second.startswith("{") and isinstance(parse_json(first, strict=False).value, dict)
    except (ValueError, RecursionError):
        return False


def _holds_rows(value: Any) -> bool:
    """Whether a document is a list of rows, holds such a list, or is a table, and is no row itself."""
    if not isinstance(value, dict):
        return is_objects(value)
    if not fits(value):
        lists = [value[name] for name in _LISTS if is_objects(value.get(name))]
        return any(fits(each[0]) for each in lists) or isinstance(value.get("columns"), list)
    cells = list(value.values())
    return all(isinstance(cell, dict) for cell in cells) or all(
        isinstance(cell, list) and not is_objects(cell) for cell in cells
    )


def json_document(file: Path, notes: list[str]) -> Records:
    """A list of objects, an object that holds one, a table as pandas writes it, or one object a line."""
    text = read_text(file)
    if not text.strip():
        return
    try:
        parsed = parse_json(text, strict=False)
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data") and text.lstrip().startswith("{"):
            yield from _lines(file, text.split("\n"))
            return
        place = f"{file}:{getattr(error, 'lineno', 1)}"
        raise UserError(f"{place}: broken JSON ({error}).", "Correct the file.") from None
    yield from _rows(parsed, file, notes)


def _lines(file: Path, lines: Iterable[str]) -> Records:
    lines = iter(lines)  # split at line feeds alone: rows contain other line breaks
    for number, line in enumerate(lines, start=1):
        line = line.lstrip(MARK)
        if line.strip():
            place = f"{file}:{number}"
            try:
                parsed = parse_json(line, strict=False)  # raw control characters in a text are taken as they are
            except (ValueError, RecursionError) as error:
                if line.strip() == "{":  # objects written over several lines, one behind the other
                    yield from _documents(file, "\n".join([line, *lines]), number)
                    return
                raise UserError(f"{place}: broken JSON ({error}).", "Correct or remove that line.") from None
            _refuse_repeats(parsed, place)
            yield place, _object(parsed.value, place)


def _documents(file: Path, text: str, line: int) -> Records:
    """Objects behind one another from a line of the file on, each over as many lines as it likes."""
    decoder = json.JSONDecoder(strict=False)
    at = 0
    while at < len(text):
        if text[at].isspace() or text[at] == MARK:
            at += 1
            continue
        place = f"{file}:{text.count(chr(10), 0, at) + line}"
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place}: broken JSON ({error}).", "Correct that object.") from None
        parsed = parse_json(text[at:end], strict=False)
        _refuse_repeats(parsed, place)
        yield place, _object(parsed.value, place)
        at = end


def _rows(parsed: ParsedJson, file: Path, notes: list[str]) -> Records:
    rows = _layout(parsed.value, file, notes)
    spoiled = {id(each) for _, each in parsed.repeated}
    for place, row in rows:
        if spoiled and any(id(each) in spoiled for each in objects_in(row)):
            _refuse_repeats(parsed, place)
        yield place, _object(row, place)
    _refuse_repeats(parsed, str(file))


def _refuse_repeats(parsed: ParsedJson, place: str) -> None:
    if parsed.repeated:
        raise UserError(
            f'{place}: the key "{parsed.repeated[0][0]}" stands twice in one object, with different values.',
            "Two records may have run together there: split or correct them.",
        )


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{place}: a JSON {type(value).__name__}, not an object.", _WANTED)
    return value


def _layout(value: Any, file: Path, notes: list[str]) -> Iterator[tuple[str, Any]]:
    """(place, row) for the rows of a document, whichever way round it holds them."""
    if isinstance(value, dict):
        index = _by_index(value)
        if index is not None:
            yield from ((f'{file} row "{key}"', row) for key, row in index.items())
            return
        value = _by_columns(value, file) or _of_splits(value, file, notes)
    if not isinstance(value, list):
        raise UserError(f"{file} holds a JSON {type(value).__name__}, not rows.", _WANTED)
    yield from ((f"{file} row {number}", row) for number, row in enumerate(value, start=1))


def _by_index(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Rows under their index, pandas' orient="index"."""
    rows = list(value.values())
    if rows and all(isinstance(row, dict) for row in rows) and not fits(value) and fits(rows[0]):
        return value
    return None


def _by_columns(value: Mapping[str, Any], file: Path) -> list[dict[str, Any]] | None:
    """Rows of a table stored by columns: pandas' orient="columns", "split" and "list"; None for any other object."""
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return [_zip(columns, row, f"{file} row {number}") for number, row in enumerate(data, start=1)]
    if not fits(value):
        return None
    cells = list(value.values())
    if all(isinstance(column, dict) for column in cells):
        index = dict.fromkeys(key for column in cells for key in column)
        return [{name: column.get(key) for name, column in value.items()} for key in index]
    if all(isinstance(column, list) and not is_objects(column) for column in cells):
        lengths = {name: len(column) for name, column in value.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise UserError(f"{file} holds columns of different lengths ({told}).", _WANTED)
        return [dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True)]
    return None


def _zip(columns: Sequence[str], row: Sequence[Any], place: str) -> dict[str, Any]:
    if len(columns) != len(row) or len(set(columns)) < len(columns):
        raise UserError(f"{place}: {len(row)} values for the columns {', '.join(map(str, columns))}.", _WANTED)
    return dict(zip(columns, row, strict=True))


def _of_splits(value: Mapping[str, Any], file: Path, notes: list[str]) -> Any:
    """The list of rows in an object, such as {"data": [...]} or {"train": [...]}; an object that is a row is itself."""
    if fits(value):
        return [value]
    lists = [name for name, rows in value.items() if is_objects(rows)]
    if SPLIT in lists:
        others = ", ".join(name for name in lists if name != SPLIT)
        notes += [f"{file.name}: the split {SPLIT} was read; not read: {others}."] if others else []
        return value[SPLIT]
    if len(lists) > 1:
        raise UserError(
            f"{file} holds several lists of rows ({', '.join(lists)}) and no {SPLIT}.",
            "Write the one you want to a file of its own.",
        )
    if lists:
        return value[lists[0]]
    return value.get("data", [value])
