"""Records from CSV, as spreadsheets, pandas and people write it."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curate.errors import UserError
from curate.sources.encodings import read_text

MARK = "\ufeff"  # what is left of a byte order mark where files were joined
_OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # what people have between columns instead of commas
# Excel's first line that says which sign stands between columns; who writes a table again may put it in quotes.
_SEPARATOR_LINE = re.compile(r"""(?P<quote>"?)sep=(?P<sign>[^\r\n"])(?P=quote)[,;\t]*\r?""", re.IGNORECASE)


def csv_records(file: Path, notes: list[str], fits: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """One record for every line behind the header, by the header's names without blanks around them."""
    csv.field_size_limit(1 << 30)
    text = read_text(file)
    delimiter, skipped = ",", 0
    first, _, rest = text.partition("\n")
    if said := _SEPARATOR_LINE.fullmatch(first):
        text, delimiter, skipped = rest, said["sign"], 1
        notes.append(f'{file.name}: its first line "sep={delimiter}" is Excel\'s and no row.')
    if (other := _quoted_with(text, delimiter)) is not None:
        raise _separated_by(other, file)
    # A blank between a separator and a quote belongs to neither; without quotes it is a value's own.
    blanks = re.match(rf'\s*"[^"\n]*"{re.escape(delimiter)} +"', text) is not None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter, skipinitialspace=blanks)
    line = 1 + skipped
    try:
        header = [name.strip(f" \t{MARK}") for name in next(_filled(reader), [])]
        _check_header(file, header, delimiter)
        while True:
            line = reader.line_num + 1 + skipped  # where it begins: a quote left open is noticed at the end of the file
            values = next(_filled(reader), None)
            if values is None:
                return
            yield f"{file}:{line}", _record(header, values, f"{file}:{line}")
    except csv.Error as error:
        raise UserError(f"{file}:{line}: broken CSV ({error}).", "Correct that line.") from None


def _filled(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    return (values for values in reader if values)


def _record(header: list[str], values: list[str], place: str) -> dict[str, str]:
    if not any(value.strip() for value in values[len(header) :]):
        values = values[: len(header)]
    if len(values) != len(header):
        difference = "more" if len(values) > len(header) else "fewer"
        raise UserError(f"{place}: {difference} fields than the header has.", "Correct that line.")
    if len(header) > 1 and [value.strip(f" \t{MARK}") for value in values] == header:
        raise UserError(
            f"{place}: the header again: two files were joined here.",
            "Remove that line, or put the files into one folder and name that.",
        )
    return {name: value for name, value in zip(header, values, strict=True) if name}  # no name: Excel's empty columns


def _check_header(file: Path, header: list[str], delimiter: str) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UserError(f'{file} has two columns named "{twice[0]}".', "Rename one of them.")
    other = next((sign for sign in _OTHERS if len(header) == 1 and sign != delimiter and sign in header[0]), None)
    if other is not None:
        raise _separated_by(other, file)


def _quoted_with(text: str, delimiter: str) -> str | None:
    """The sign between quoted names in a text's first line, where it is not `delimiter`."""
    between = re.match(r'\s*"[^"\n]*"([;\t|])"', text)
    return between[1] if between and between[1] != delimiter else None


def _separated_by(sign: str, file: Path) -> UserError:
    source, target = (json.dumps(str(name)) for name in (file, file.with_suffix(".commas.csv")))
    code = (
        f"import pandas; pandas.read_csv({source}, sep={json.dumps(sign)}, dtype=str, keep_default_na=False)"
        f".to_csv({target}, index=False)"
    )
    return UserError(
        f"{file} has {_OTHERS[sign]} between its columns, not commas.",
        f"Write it with commas, and name the new file: python -c {shlex.quote(code)}",
    )
