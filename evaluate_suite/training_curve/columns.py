"""Which column of a table is which of ours: step, train loss and eval loss, under the names that tools give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import UsageError, UserError, did_you_mean
from evaluate_suite.training_curve.formats import EXAMPLE, TENSORBOARD

STEP, TRAIN, EVAL = "step", "train_loss", "eval_loss"
# Names that tools write, folded by `fold`, in the order in which they are preferred where they have as many values.
EPOCHS = ("epoch", "epochs", "current_epoch")
NAMES = {
    STEP: (
        "step", "train_global_step", "global_step", "_step", "steps", "current_steps", "current_step",
        "trainer_global_step", "iteration", "iterations", "iter", "num_updates", *EPOCHS,
    ),
    TRAIN: (
        "train_loss", "training_loss", "loss", "train_loss_step", "loss_train", "loss_step", "avg_train_loss",
        "tr_loss", "trainloss", "train_losses", "training_losses", "losses", "train_loss_epoch", "loss_epoch",
    ),
    EVAL: (
        "eval_loss", "validation_loss", "val_loss", "valid_loss", "dev_loss", "loss_val", "loss_valid", "loss_eval",
        "loss_validation", "avg_val_loss", "valloss", "eval_losses", "val_losses", "validation_losses", "valid_losses",
        "val_loss_epoch", "eval_loss_epoch", "test_loss",
    ),
}  # fmt: skip
NAMED_SET = re.compile(r"(?:eval|val|valid|validation)_(?!loss)(.+)_loss|(?:eval|val|valid|validation)_loss_(.+)")
DERIVED = ("__min", "__max")  # wandb's ranges beside a column: copies of it where every step has one value
MISSING = (None, "", "no log", "null", "none", "-", "--", "–", "—", "n/a", "na", "<na>")


@dataclass(frozen=True)
class Columns:
    """Their names by ours; `eval_sets` has the column of every eval set by the set's name, one or several."""

    step: str | None
    train: str | None
    eval_sets: dict[str, str]
    left_alone: list[str]


def is_missing(value: Any) -> bool:
    """Return whether a cell says that nothing was logged."""
    return (value.strip().lower() if isinstance(value, str) else value) in MISSING


def fold(name: Any) -> str:
    """Return a column's name in lower case, its words joined by underscores, without the run that wandb puts before."""
    return re.sub(r"[\s/.\-]+", "_", str(name).rpartition(" - ")[2].strip().lower())


def parse_columns(text: str) -> dict[str, str]:
    """Return what `--columns step=...,train_loss=...,eval_loss=...` says: their names by ours."""
    wanted: dict[str, str] = {}
    for part in re.split(rf",\s*(?=(?:{STEP}|{TRAIN}|{EVAL})\s*=)", text):
        ours, equals, theirs = part.partition("=")
        if ours.strip() not in NAMES or not equals or not theirs.strip():
            hint = did_you_mean(ours.strip(), list(NAMES))
            raise UsageError(f'--columns does not know "{part.strip()}".', f"Write step=NAME,eval_loss=NAME. {hint}")
        if ours.strip() in wanted or theirs.strip() in wanted.values():
            twice = ours.strip() if ours.strip() in wanted else theirs.strip()
            raise UsageError(f'--columns names "{twice}" twice.', "Give each of ours a column of its own.")
        wanted[ours.strip()] = theirs.strip()
    return wanted


def recognise(rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, str], counted: bool, name: str) -> Columns:
    """Return which column is which, by `wanted` and else by the names tools use.

    Of several columns for one thing that with the most values is taken: the others are sums, or means of epochs.
    """
    counts: dict[str, int] = {}
    for row in rows:
        for column, value in row.items():
            counts[column] = counts.get(column, 0) + (not is_missing(value))
    present = ", ".join(map(str, counts)) or "none"
    for ours, theirs in wanted.items():
        if theirs not in counts:
            raise UserError(f"{name} has no column {theirs} (columns: {present}).", f"Name one of them as {ours}.")
    free = {column: n for column, n in counts.items() if n and column not in wanted.values()}
    step = wanted.get(STEP) or _fullest(STEP, free, name)
    train = wanted.get(TRAIN) or _fullest(TRAIN, free, name)
    eval_sets = {EVAL: wanted[EVAL]} if EVAL in wanted else _eval_sets(free, name)
    _check(step is not None or counted, train, eval_sets, list(counts), present, name)
    used = {step, train, *eval_sets.values()}
    return Columns(step, train, eval_sets, [str(c) or "(no name)" for c, n in counts.items() if n and c not in used])


def _check(
    stepped: bool, train: str | None, eval_sets: Mapping[str, str], columns: Sequence[str], present: str, name: str
) -> None:
    how = "--columns step=NAME,train_loss=NAME,eval_loss=NAME says which column is which."
    if train is None and not eval_sets:
        if {fold(column) for column in columns} >= {fold(TENSORBOARD[1]), fold(TENSORBOARD[2])}:
            raise UserError(
                f"{name} is a scalar of TensorBoard: its column Value does not say which loss it is.",
                "Say it: --columns eval_loss=Value, or --columns train_loss=Value.",
            )
        raise UserError(f"{name} has neither train_loss nor eval_loss (columns: {present}).", f"{EXAMPLE} {how}")
    if not stepped:
        raise UserError(f"{name} has no step (columns: {present}).", f"{EXAMPLE} {how}")


def _fullest(ours: str, counts: Mapping[str, int], name: str) -> str | None:
    """Return the column of one of our names with the most values, the preferred one of equals; None where none is."""
    known = {column: fold(column) for column in counts if fold(column) in NAMES[ours]}
    known = {column: folded for column, folded in known.items() if folded not in EPOCHS} or known
    if not known:
        return None
    best = min(known, key=lambda column: (-counts[column], NAMES[ours].index(known[column])))
    runs = [column for column, folded in known.items() if folded == known[best]]
    if len(runs) > 1 and ours != STEP:
        raise UserError(
            f"{name} has several columns of {ours}: {', '.join(runs)}.", f'Name one: --columns "{ours}={best}".'
        )
    return best


def _eval_sets(counts: Mapping[str, int], name: str) -> dict[str, str]:
    """Return the column of the eval loss or, where that is none, of every named eval set."""
    plain = _fullest(EVAL, counts, name)
    if plain is not None:
        return {EVAL: plain}
    named = {}
    for column in counts:
        match = NAMED_SET.fullmatch(fold(column))
        if match and not fold(column).endswith(DERIVED):
            named[match.group(1) or match.group(2)] = column
    return named
