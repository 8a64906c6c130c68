"""Records from JSON and JSONL: lists, one object a line, the layouts of a pandas table, files of several splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from curate.artifact.json_text import ParsedJson, objects_in, parse_json
from curate.errors import UserError
from curate.sources.encodings import read_text, text_lines
from curate.sources.fields import is_objects
from curate.sources.turns import has_turns

MARK = "\ufeff"  # what is left of a byte order mark where files were joined
SPLIT = "train"
_LISTS = (SPLIT, "data", "rows", "examples", "records", "samples")  # what people call the list of rows in an object
_WANTED = 'Write a list of objects, or one object a line; from pandas: df.to_json(FILE, orient="records", lines=True).'
Records = Iterator[tuple[str, Mapping[str, Any]]]
Fits = Callable[[Mapping[str, Any]], bool]  # whether a record has the columns that are read


def json_lines(file: Path, notes: list[str], fits: Fits) -> Records:
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
    if parsed is not None and _holds_rows(parsed.value, fits):
        yield from _rows(parsed, file, notes, fits)
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


def _holds_rows(value: Any, fits: Fits) -> bool:
    """Whether a document is a list of rows, holds such a list, or is a table, and is no row itself."""
    if not isinstance(value, dict):
        return is_objects(value) or value == []
    indexed = _by_index(value, fits) is not None and (len(value) > 1 or _numbered(value))
    if indexed or _of_cells(value, fits) is not None:
        return True
    held = any(_are_rows(value.get(name), fits) or value.get(name) == [] for name in _LISTS)
    return not fits(value) and (held or isinstance(value.get("columns"), list))


def _are_rows(value: Any, fits: Fits) -> bool:
    """Whether a value is a list of rows; one of messages is none, unless they are rows that can be read."""
    return is_objects(value) and (fits(value[0]) or not has_turns(value))


def json_document(file: Path, notes: list[str], fits: Fits) -> Records:
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
    yield from _rows(parsed, file, notes, fits)


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


def _rows(parsed: ParsedJson, file: Path, notes: list[str], fits: Fits) -> Records:
    rows = _layout(parsed.value, file, notes, fits)
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
        wanted = 'Write every conversation as an object: {"messages": [...]}' if has_turns(value) else _WANTED
        raise UserError(f"{place}: a JSON {type(value).__name__}, not an object.", wanted)
    return value


def _layout(value: Any, file: Path, notes: list[str], fits: Fits) -> Iterator[tuple[str, Any]]:
    """(place, row) for the rows of a document, whichever way round it holds them."""
    if isinstance(value, dict):
        index = _by_index(value, fits)
        if index is not None:
            yield from ((f'{file} row "{key}"', row) for key, row in index.items())
            return
        rows = _by_columns(value, file, fits)
        value = rows if rows is not None else _of_splits(value, file, notes, fits)
    if not isinstance(value, list):
        raise UserError(f"{file} holds a JSON {type(value).__name__}, not rows.", _WANTED)
    yield from ((f"{file} row {number}", row) for number, row in enumerate(value, start=1))


def _numbered(names: Iterable[str]) -> bool:
    """Whether names are the numbers by which pandas names rows."""
    return all(str(name).isdecimal() for name in names)


def _by_index(value: Mapping[str, Any], fits: Fits) -> Mapping[str, Any] | None:
    """Rows under their index, pandas' orient="index"."""
    rows = list(value.values())
    if rows and all(isinstance(row, dict) for row in rows) and not fits(value):
        return value if fits(rows[0]) or _numbered(value) else None
    return None


def _by_columns(value: Mapping[str, Any], file: Path, fits: Fits) -> list[dict[str, Any]] | None:
    """Rows of a table stored by columns: pandas' orient="columns", "split" and "list"; None for any other object."""
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return [_zip(columns, row, f"{file} row {number}") for number, row in enumerate(data, start=1)]
    rows = _of_cells(value, fits)
    if rows is None and fits(_heads(value)):
        told = ", ".join(f"{name} {len(column)}" for name, column in value.items())
        raise UserError(f"{file} holds columns of different lengths ({told}).", _WANTED)
    return rows


def _of_cells(value: Mapping[str, Any], fits: Fits) -> list[dict[str, Any]] | None:
    """Rows of a table whose columns are objects or lists; names that are not known are a table's where all agree."""
    cells = list(value.values())
    if cells and all(isinstance(column, dict) and column for column in cells):
        index = dict.fromkeys(key for column in cells for key in column)
        rows = [{name: column.get(key) for name, column in value.items()} for key in index]
        return rows if fits(rows[0]) or (_numbered(index) and not fits(value)) else None
    if not (heads := _heads(value)) or len({len(column) for column in cells}) > 1:
        return None
    known = fits(heads) or (len(cells) > 1 and not fits(value))
    return [dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True)] if known else None


def _heads(value: Mapping[str, Any]) -> dict[str, Any]:
    """The first row of a table whose columns are lists; empty for any other object."""
    if not all(isinstance(column, list) and not is_objects(column) for column in value.values()):
        return {}
    return {name: column[0] if column else None for name, column in value.items()}


def _zip(columns: Sequence[str], row: Sequence[Any], place: str) -> dict[str, Any]:
    if len(columns) != len(row) or len(set(columns)) < len(columns):
        raise UserError(f"{place}: {len(row)} values for the columns {', '.join(map(str, columns))}.", _WANTED)
    return dict(zip(columns, row, strict=True))


def _of_splits(value: Mapping[str, Any], file: Path, notes: list[str], fits: Fits) -> Any:
    """The list of rows in an object, such as {"data": [...]} or {"train": [...]}; an object that is a row is itself."""
    if fits(value):
        return [value]
    lists = [name for name, rows in value.items() if _are_rows(rows, fits)]
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
    return next((value[name] for name in _LISTS if value.get(name) == []), value.get("data", [value]))
