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
_SEPARATOR_LINE = "sep="  # Excel's first line that says which sign stands between columns


def csv_records(file: Path, notes: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """One record for every line behind the header, by the header's names without blanks around them."""
    csv.field_size_limit(1 << 30)
    text = read_text(file)
    delimiter, skipped = ",", 0
    first, _, rest = text.partition("\n")
    if first.lower().startswith(_SEPARATOR_LINE) and len(first.rstrip("\r")) == len(_SEPARATOR_LINE) + 1:
        text, delimiter, skipped = rest, first.rstrip("\r")[-1], 1
        notes.append(f'{file.name}: its first line "{first.strip()}" is Excel\'s and no row.')
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
    if len(values) != len(header):
        difference = "more" if len(values) > len(header) else "fewer"
        raise UserError(f"{place}: {difference} fields than the header has.", "Correct that line.")
    if len(header) > 1 and [value.strip(f" \t{MARK}") for value in values] == header:
        raise UserError(
            f"{place}: the header again: two files were joined here.",
            "Remove that line, or put the files into one folder and name that.",
        )
    return dict(zip(header, values, strict=True))


def _check_header(file: Path, header: list[str], delimiter: str) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f'{file} has two columns named "{twice[0]}".', "Rename one of them.")
    other = next((sign for sign in ";\t|" if len(header) == 1 and sign != delimiter and sign in header[0]), None)
    if other is not None:
        source, target = (json.dumps(str(name)) for name in (file, file.with_suffix(".commas.csv")))
        code = (
            f"import pandas; pandas.read_csv({source}, sep={json.dumps(other)}, dtype=str, keep_default_na=False)"
            f".to_csv({target}, index=False)"
        )
        name = {";": "semicolons", "\t": "tabs", "|": "bars"}[other]
        raise UserError(
            f"{file} has {name} between its columns, not commas.",
            f"Write it with commas, and name the new file: python -c {shlex.quote(code)}",
        )
