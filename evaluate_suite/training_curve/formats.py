"""Tables out of text: one small function for every format that people keep loss histories in."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import chain
from typing import Any

from curate.artifact.json_text import ParsedJson, parse_json
from curate.errors import UserError

EXAMPLE = "Each line needs step, and train_loss or eval_loss."
NESTED = ("log_history", "history", "logs", "data")  # keys under which JSON files keep the lines themselves
TENSORBOARD = ("Wall time", "Step", "Value")
Row = dict[str, Any]
Place = tuple[str, Any]  # where a row stands, and the row


@dataclass(frozen=True)
class Table:
    """Rows with their places; cells of a text table are text.

    `counted` says that the rows may be counted where they have no step, `skipped` how many lines were no part of them.
    """

    rows: list[Place]
    counted: bool = False
    skipped: int = 0


def read_table(text: str, name: str) -> Table:
    """Return the rows in `text` by the first format that recognises it; `name` is the file's, for messages."""
    for recognises, read in FORMATS:
        if recognises(text, name):
            return read(text, name)
    raise UserError(f"{name} holds no history.", EXAMPLE)


def _is_json(text: str, name: str) -> bool:
    return text.lstrip()[:1] in ("{", "[") or name.lower().endswith((".json", ".jsonl", ".ipynb"))


def _json(text: str, name: str) -> Table:
    """Return what is in a JSON file, or in one with an object on every line."""
    try:
        loaded = _once(parse_json(text), name)
    except RecursionError as error:
        raise UserError(f"{name}:1: not JSON ({error}).", "Fix that line.") from None
    except ValueError as error:
        if _parses(text.strip().split("\n", 1)[0]) or not name.lower().endswith((".json", ".ipynb")):
            return _json_lines(text, name)
        raise UserError(f"{name}: not JSON ({error}).", "Fix that file.") from None
    if isinstance(loaded, Mapping) and isinstance(loaded.get("cells"), list):
        return _html("\n".join(_notebook_outputs(loaded)), name)
    return _from_json(loaded, name)


def _once(parsed: ParsedJson, place: str) -> Any:
    """Return the value; a key with two values in one object would lose the first."""
    if parsed.repeated:
        raise UserError(f'{place}: the key "{parsed.repeated[0][0]}" stands twice in one object.', "Fix that line.")
    return parsed.value


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _json_lines(text: str, name: str) -> Table:
    # Not splitlines(): a text in the line may hold other line breaks.
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                rows.append((f"{name}:{number}", _once(parse_json(line), f"{name}:{number}")))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}:{number}: not JSON ({error}).", "Fix that line.") from None
    return Table(rows)


def _from_json(loaded: Any, name: str) -> Table:
    """Return the rows of a list of rows, of columns, of what pandas writes, or of a file that nests one of these."""
    if isinstance(loaded, Mapping):
        nested = next((loaded[key] for key in NESTED if isinstance(loaded.get(key), (list, Mapping))), None)
        if nested is not None and not _is_columns(loaded):
            if isinstance(loaded.get("columns"), list):  # pandas: orient="split"
                nested = [dict(zip(loaded["columns"], row, strict=False)) for row in nested]
            return _from_json(nested, name)
        if any(isinstance(value, list) for value in loaded.values()):
            return _columns(loaded, name)
        if loaded and all(isinstance(value, Mapping) for value in loaded.values()):
            return Table([(f"{name}:{n}", row) for n, row in enumerate(_by_index(loaded), 1)], counted=True)
        if loaded and not any(isinstance(value, (list, Mapping)) for value in loaded.values()):
            loaded = [loaded]
    if not isinstance(loaded, list):
        raise UserError(f"{name} holds a {type(loaded).__name__}, not a list of steps.", EXAMPLE)
    if loaded and all(isinstance(row, list) and len(row) == 3 for row in loaded):
        loaded = [dict(zip(TENSORBOARD, row, strict=True)) for row in loaded]
    return Table([(f"{name}:{n}", row) for n, row in enumerate(loaded, 1)])


def _is_columns(loaded: Mapping[str, Any]) -> bool:
    return bool(loaded) and all(
        isinstance(column, list) and not any(isinstance(cell, (list, Mapping)) for cell in column)
        for column in loaded.values()
    )


def _columns(loaded: Mapping[str, Any], name: str) -> Table:
    """Return the rows of `{"loss": [...], "val_loss": [...]}`, Keras' history; what is no list stands in every row."""
    columns = {key: value for key, value in loaded.items() if isinstance(value, list)}
    lengths = {column: len(values) for column, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{name} has columns of different lengths ({lengths}).", "Give every column every step.")
    rows = [{**loaded, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)]
    return Table([(f"{name}:{n}", row) for n, row in enumerate(rows, 1)], counted=True)


def _by_index(loaded: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the rows of pandas' orients "index" (rows by number) and "columns" (cells by number, by column)."""
    if all(key.lstrip("-").isdecimal() for key in loaded):
        return [dict(row) for row in loaded.values()]
    numbers = dict.fromkeys(chain.from_iterable(loaded.values()))
    return [{column: cells.get(number) for column, cells in loaded.items()} for number in numbers]


def _notebook_outputs(notebook: Mapping[str, Any]) -> list[str]:
    """Return the HTML that the cells of a notebook put out: a trainer's progress table is among it."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    texts = [output.get("data", {}).get("text/html", []) for output in outputs]
    return ["".join(text) for text in texts]


def _is_printed(text: str, name: str) -> bool:
    return not name.lower().endswith((".csv", ".tsv", ".json", ".jsonl", ".ipynb")) and bool(PRINTED.search(text))


PRINTED = re.compile(r"\{'[^{}\n]*loss[^{}\n]*\}")


def _printed(text: str, name: str) -> Table:
    """Return the dicts that a trainer printed into its log, one a line, among whatever else was printed."""
    rows = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        for match in PRINTED.finditer(line):
            literal = re.sub(r":\s*(-?)(nan|inf)\b", r": '\1\2'", match.group())
            try:
                rows.append((f"{name}:{number}", ast.literal_eval(literal)))
            except (ValueError, SyntaxError):
                raise UserError(f"{name}:{number}: not a dict of numbers.", "Fix that line.") from None
    return Table(rows, skipped=sum(bool(line.strip()) for line in lines) - len({place for place, _ in rows}))


def _is_html(text: str, name: str) -> bool:
    return "<table" in text.lower()


class _Tables(HTMLParser):
    """Collects every table of a page as rows of cell texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[-1][-1][-1] += data


def _html(text: str, name: str) -> Table:
    """Return the one table with losses on an HTML page or in a notebook."""
    parser = _Tables()
    parser.feed(text)
    return _one_with_losses([[row for row in table if row] for table in parser.tables], name)


def _is_markdown(text: str, name: str) -> bool:
    return any(line.strip().startswith("|") for line in text.split("\n"))


def _markdown(text: str, name: str) -> Table:
    """Return the one table with losses in a model card or a pasted cell."""
    tables: list[list[list[str]]] = [[]]
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped.startswith("|"):
            cells = [cell.strip().strip("*`") for cell in stripped.strip("|").split("|")]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                tables[-1].append(cells)
        elif tables[-1]:
            tables.append([])
    return _one_with_losses(tables, name)


def _one_with_losses(tables: Sequence[list[list[str]]], name: str) -> Table:
    with_losses = [table for table in tables if table and any("loss" in cell.lower() for cell in table[0])]
    if len(with_losses) != 1:
        counted = f"{len(with_losses)} tables" if with_losses else "no table"
        raise UserError(f"{name} holds {counted} with a column of losses.", "Save the one table in a file of its own.")
    head, *body = with_losses[0]
    return _cells(head, [(f"{name}, row {n}", cells) for n, cells in enumerate(body, 1)])


def _is_text(text: str, name: str) -> bool:
    return bool(text.strip())


def _delimited(text: str, name: str) -> Table:
    """Return the rows of CSV, TSV, `;` as Excel writes where commas are decimal, `|`, or columns set apart by blanks.

    Excel's first line `sep=;` is no row.
    """
    csv.field_size_limit(1 << 30)  # other columns may hold whole texts
    text = re.sub(r"\A\s*sep=.\r?\n", "", text, flags=re.IGNORECASE).lstrip("\n\r")
    text = _without_comments(text)
    head = text.split("\n", 1)[0]
    delimiter = max((",", ";", "\t", "|"), key=head.count)
    if not head.count(delimiter):
        return _cells(*_set_apart_by_blanks(text, name))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = next(reader)
    rows = [(f"{name}:{reader.line_num}", cells) for cells in reader if any(cell.strip() for cell in cells)]
    return _cells(columns, rows)


def _without_comments(text: str) -> str:
    """Return the text without the lines at its head that begin with #; the last is kept where it has the names, as
    `numpy.savetxt` writes them."""
    lines = text.split("\n")
    comments = next((n for n, line in enumerate(lines) if not line.startswith("#")), 0)
    if not comments:
        return text
    named = not re.search(r"[a-df-z]", lines[comments], re.IGNORECASE)  # numbers: 1.0e+00
    return "\n".join([*([lines[comments - 1].lstrip("# ")] if named else []), *lines[comments:]])


def _set_apart_by_blanks(text: str, name: str) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return names and cells of columns with two blanks or more between them, or one where no name has one."""
    lines = [(f"{name}:{n}", line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    two = re.search(r"\S\s{2,}\S", lines[0][1])
    rows = [(place, re.split(r"\s{2,}" if two else r"\s+", line)) for place, line in lines]
    return rows[0][1], rows[1:]


def _cells(head: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> Table:
    """Return the rows by column; a name that stands twice gets a number, so that neither column hides the other."""
    names: list[str] = []
    for column in (cell.strip() for cell in head):
        again = names.count(column)
        names.append(f"{column} ({again + 1})" if again else column)
    for place, cells in rows:
        if any(cell.strip() for cell in cells[len(names) :]):
            raise UserError(
                f"{place}: {len(cells)} cells under {len(names)} names.",
                "Put numbers with a decimal comma between quotes, or set the columns apart by ;",
            )
    return Table([(place, dict(zip(names, cells, strict=False))) for place, cells in rows], counted=names[0] == "")


Recognises = Callable[[str, str], bool]
FORMATS: tuple[tuple[Recognises, Callable[[str, str], Table]], ...] = (
    (_is_printed, _printed),
    (_is_json, _json),
    (_is_html, _html),
    (_is_markdown, _markdown),
    (_is_text, _delimited),
)
