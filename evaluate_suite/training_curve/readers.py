"""Loss histories from files: our runs, JSONL, CSV, JSON, and the `trainer_state.json` of transformers."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.errors import UserError
from evaluate_suite.training_curve.rules import HistoryPoint

# Column names other tools write, folded to lower case with underscores.
NAMES = {
    "step": ("step", "steps", "global_step", "train/global_step", "_step"),
    "train_loss": ("train_loss", "loss", "training_loss", "train/loss"),
    "eval_loss": ("eval_loss", "validation_loss", "val_loss", "eval/loss"),
}
MISSING = (None, "", "no log", "null", "none", "-")
EXAMPLE = "Each line needs step, and train_loss or eval_loss."
STATE = "trainer_state.json"


def read_history(path: Path) -> list[HistoryPoint]:
    """The history in a run or checkpoint folder, a `history.jsonl`, a CSV or JSON file, or a `trainer_state.json`.

    Needs a column step and one of train_loss and eval_loss, or a usual other name of theirs; other columns are left
    alone. What is wrong is a `UserError` with file and line.
    """
    source = _file_of(path)
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{source} does not exist.", "Name a run, a history.jsonl, or a CSV or JSON file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not UTF-8 (byte {error.start}).", "Save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror}).", "Check the path.") from None
    if path.is_dir() and source.name != STATE:
        text = text[: text.rfind("\n") + 1]  # a line that a run is writing, or was killed while it wrote
    rows = _rows(source, text)
    if not rows:
        raise UserError(f"{source} holds no history.", EXAMPLE)
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise UserError(f"{source}:{number}: a {type(row).__name__}, not an object.", EXAMPLE)
    names = _columns([row for _, row in rows], source)
    points = [_point(row, names, f"{source}:{number}") for number, row in rows]
    return [point for point in points if point is not None]


def _file_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / STATE).is_file() and not (path / "history.jsonl").is_file():
        return path / STATE
    return path / "history.jsonl"


def _rows(source: Path, text: str) -> list[tuple[int, Any]]:
    """(line or place, row) of everything in the file, read by its content where its name says nothing."""
    kind = source.suffix.lower()
    if kind in (".csv", ".tsv"):
        csv.field_size_limit(1 << 30)  # other columns may hold whole texts
        reader = csv.DictReader(text.splitlines(), delimiter="\t" if kind == ".tsv" else ",")
        return [(reader.line_num, {k: v for k, v in row.items() if k is not None}) for row in reader]
    if kind != ".json":
        # Not splitlines(): a text in the line may hold other line breaks.
        return [(n, _loads(line, f"{source}:{n}")) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    loaded = _loads(text, str(source))
    if isinstance(loaded, Mapping) and isinstance(loaded.get("log_history"), list):
        # Its last line sums the training up: train_loss there is a mean over all steps, not a point.
        loaded = [row for row in loaded["log_history"] if not (isinstance(row, Mapping) and "train_runtime" in row)]
    if isinstance(loaded, Mapping) and loaded and all(isinstance(column, list) for column in loaded.values()):
        lengths = {name: len(column) for name, column in loaded.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"{source} has columns of different lengths ({lengths}).", "Give every column every step.")
        loaded = [dict(zip(loaded, values, strict=True)) for values in zip(*loaded.values(), strict=True)]
    if not isinstance(loaded, list):
        raise UserError(f"{source} holds a {type(loaded).__name__}, not a list of steps.", EXAMPLE)
    return list(enumerate(loaded, start=1))


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}).", "Mend that line.") from None


def _fold(name: Any) -> str:
    return "_".join(str(name).strip().lower().split())


def _columns(rows: Sequence[Mapping[str, Any]], source: Path) -> dict[str, str]:
    """Which column of the file is which of ours."""
    present = {_fold(name): name for row in rows for name in row}
    found = {ours: next((present[n] for n in names if n in present), None) for ours, names in NAMES.items()}
    columns = ", ".join(map(str, present.values())) or "none"
    if found["step"] is None:
        raise UserError(f"{source} has no step (columns: {columns}).", EXAMPLE)
    if found["train_loss"] is None and found["eval_loss"] is None:
        raise UserError(f"{source} has neither train_loss nor eval_loss (columns: {columns}).", EXAMPLE)
    return {ours: name for ours, name in found.items() if name is not None}


def _point(row: Mapping[str, Any], names: Mapping[str, str], where: str) -> HistoryPoint | None:
    """The row as a point; None for a line that logs something else."""
    losses = {ours: _number(row.get(names[ours]), ours, where) for ours in names if ours != "step"}
    step = _number(row.get(names["step"]), "step", where)
    if all(value is None for value in losses.values()):
        return None
    if step is None:
        raise UserError(f"{where}: no step.", EXAMPLE)
    if step != int(step) or step < 0:
        raise UserError(f"{where}: step is {step:g}; it must be a whole number from 0.", EXAMPLE)
    return HistoryPoint(int(step), losses.get("train_loss"), losses.get("eval_loss"))


def _number(value: Any, name: str, where: str) -> float | None:
    if (value.strip().lower() if isinstance(value, str) else value) in MISSING:
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f'{where}: {name} is "{str(value)[:40]}", not a number.', "Mend that line.") from None
    if name == "step" and number - number != 0:
        raise UserError(f"{where}: step is not a finite number.", EXAMPLE)
    return number
