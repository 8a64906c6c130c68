"""Loss histories from files: our runs, and what other tools and people write. docs/verdicts.md lists the formats."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from curate.errors import UserError, missing_file
from evaluate_suite.training_curve.columns import EPOCHS, EVAL, STEP, TRAIN, Columns, fold, is_missing, recognise
from evaluate_suite.training_curve.formats import EXAMPLE, Place, Table, read_table
from evaluate_suite.training_curve.types import HistoryPoint

STATE = "trainer_state.json"
HISTORY = "history.jsonl"
DECIMAL_COMMA = re.compile(r"\s*-?\d+,\d+(e-?\d+)?\s*", re.IGNORECASE)
LONG_KEYS, LONG_VALUES = ("tag", "key", "metric", "variable", "name"), ("value", "values")
BINARY = (b"PAR1", b"PK\x03\x04", b"\x1f\x8b", b"\x89PNG", b"\x89HDF", b"ARROW1")  # Parquet, Excel, gzip, ...
SUMMARY = "train_runtime"  # a trainer's last line sums the training up: its train_loss is a mean, not a point


@dataclass(frozen=True)
class History:
    """A history as it was read, by eval set: one, or several that were evaluated by name.

    `columns` says which column of the file was taken for which of ours; the others are `left_alone`.
    """

    eval_sets: dict[str, list[HistoryPoint]]
    columns: dict[str, str]
    left_alone: list[str]
    notes: list[str]

    @property
    def points(self) -> list[HistoryPoint]:
        """The points with the first eval set."""
        return next(iter(self.eval_sets.values()))


def read_history(path: Path, columns: Mapping[str, str] | None = None) -> History:
    """Return the history in a run or checkpoint folder, or in a file of any format that `formats` knows.

    `columns` names the file's columns by ours; the others are recognised. What is wrong is a `UserError` with file and
    line.
    """
    source = _file_of(path)
    text = _read_text(source)
    if path.is_dir() and source.name != STATE:
        text = text[: text.rfind("\n") + 1]  # a line that a run is writing, or was killed while it wrote
    table = read_table(text, str(source))
    return _history(table, columns or {}, str(source))


def reading_lines(history: History) -> list[str]:
    """Return what people are told of how a file was read: which columns were taken, and every one that was not."""
    if not history.columns:
        return []
    taken = ", ".join(ours if ours == theirs else f"{ours}={theirs}" for ours, theirs in history.columns.items())
    alone = f" Left alone: {', '.join(history.left_alone)}." if history.left_alone else ""
    return [f"Read {taken}.{alone}", *history.notes]


def points_of(lines: Sequence[Mapping[str, Any]]) -> list[HistoryPoint]:
    """Return the lines of one of our `history.jsonl` as points; a loss that is no number is written as text there."""
    columns = Columns(STEP, TRAIN, {EVAL: EVAL}, [])
    rows = [(f"{HISTORY}:{number}", dict(line)) for number, line in enumerate(lines, start=1)]
    return _points(Table(rows), columns, EVAL)


def _file_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / STATE).is_file() and not (path / HISTORY).is_file():
        return path / STATE
    return path / HISTORY


def _read_text(source: Path) -> str:
    try:
        data = source.read_bytes()
        if data.startswith(BINARY):
            raise UserError(f"{source} is no text file.", "Export the history as CSV or JSON, and name that file.")
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise missing_file(source, step="Name a run, a history.jsonl, or a CSV or JSON file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not UTF-8 (byte {error.start}).", "Save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror}).", "Check the path.") from None


def _history(table: Table, wanted: Mapping[str, str], name: str) -> History:
    for place, row in table.rows:
        if not isinstance(row, Mapping):
            raise UserError(f"{place}: a {type(row).__name__}, not an object.", EXAMPLE)
    rows = [(place, row) for place, row in table.rows if is_missing(row.get(SUMMARY))]
    if not rows:
        raise UserError(f"{name} holds no history.", EXAMPLE)
    rows = _pivoted(rows)
    columns = recognise([row for _, row in rows], wanted, table.counted, name)
    table = Table(rows, table.counted, table.skipped)
    eval_sets = {eval_set: _points(table, columns, eval_set) for eval_set in columns.eval_sets or {EVAL: ""}}
    taken = {STEP: columns.step or "(counted)", TRAIN: columns.train}
    taken |= {EVAL if len(eval_sets) == 1 else f"{EVAL} of {k}": v for k, v in columns.eval_sets.items()}
    known = {ours: theirs for ours, theirs in taken.items() if theirs is not None}
    return History(eval_sets, known, columns.left_alone, _notes(table, columns.step))


def _pivoted(rows: list[Place]) -> list[Place]:
    """Return rows of one name and one value each, as TensorBoard and MLflow export them, with the name as a column."""
    folded = {fold(column): column for _, row in rows for column in row}
    key = next((folded[name] for name in LONG_KEYS if name in folded), None)
    value = next((folded[name] for name in LONG_VALUES if name in folded), None)
    if key is None or value is None:
        return rows
    wide = []
    for place, row in rows:
        others = {column: cell for column, cell in row.items() if column not in (key, value)}
        wide.append((place, {**others, str(row.get(key)): row.get(value)}))
    return wide


def _notes(table: Table, step: str | None) -> list[str]:
    notes = ["The rows have no step: they were counted 1, 2, 3."] if step is None else []
    return notes + ([f"{table.skipped} lines hold no loss and were left out."] if table.skipped else [])


def _points(table: Table, columns: Columns, eval_set: str) -> list[HistoryPoint]:
    """Return a point for every row that logs one of the losses."""
    of_losses = [column for column in (columns.train, columns.eval_sets.get(eval_set)) if column is not None]
    commas = any(DECIMAL_COMMA.fullmatch(str(row.get(column))) for _, row in table.rows for column in of_losses)
    points = []
    for number, place in enumerate(table.rows, start=1):
        point = _point(place, columns, eval_set, commas, number)
        if point is not None:
            points.append(point)
    if columns.step is not None and fold(columns.step) in EPOCHS:
        _check_epochs(points, columns.step)
    return points


def _point(place: Place, columns: Columns, eval_set: str, commas: bool, number: int) -> HistoryPoint | None:
    """Return the row as a point; None for a line that logs something else."""
    where, row = place
    train = _number(row.get(columns.train), TRAIN, where, commas) if columns.train is not None else None
    theirs = columns.eval_sets.get(eval_set)
    loss = _number(row.get(theirs), EVAL, where, commas) if theirs is not None else None
    if train is None and loss is None:
        return None
    if columns.step is None:
        return HistoryPoint(number, train, loss)
    step = _number(row.get(columns.step), STEP, where, commas)
    if step is None:
        raise UserError(f"{where}: no step.", EXAMPLE)
    whole = step == int(step)
    if step < 0 or (not whole and fold(columns.step) not in EPOCHS):
        raise UserError(f"{where}: step is {step:g}; it must be a whole number from 0.", EXAMPLE)
    return HistoryPoint(int(step) if whole else step, train, loss)


def _check_epochs(points: Sequence[HistoryPoint], column: str) -> None:
    """Raise where several train losses of one epoch follow each other: as steps they would replace each other."""
    logged = [point.step for point in points if point.train_loss is not None]
    again = next((step for before, step in pairwise(logged) if before == step), None)
    if again is not None:
        raise UserError(
            f"Several train losses stand at {column} {again:g}.", "Name a column of steps: --columns step=NAME."
        )


def _number(value: Any, name: str, where: str, commas: bool) -> float | None:
    if is_missing(value):
        return None
    text = str(value).strip()
    if commas and ("," in text or (name == STEP and isinstance(value, str))):  # a loss of 0,78 at 1.000 steps
        text = text.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"\d{1,3}(,\d{3})+" if name == STEP else r"\d{1,3}(,\d{3})+\.\d+", text):
        text = text.replace(",", "")
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(text)
    except ValueError:
        raise UserError(f'{where}: {name} is "{str(value)[:40]}", not a number.', "Fix that line.") from None
    if name == STEP and number - number != 0:
        raise UserError(f"{where}: step is not a finite number.", EXAMPLE)
    return number
