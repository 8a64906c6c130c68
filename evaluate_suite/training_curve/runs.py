"""The verdict on a run folder of ours or on anybody's file, with what the folder says beside the losses."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.artifact import MANIFEST, home, read_manifest
from curate.artifact.outputs import read_output
from curate.errors import UserError
from curate.selection.record import KIND as SELECTION
from evaluate_suite.training_curve.columns import EVAL
from evaluate_suite.training_curve.readers import History, points_of, read_history
from evaluate_suite.training_curve.rules import gravest, judge
from evaluate_suite.training_curve.types import Context, Verdict
from finetune.run.history_lines import HISTORY, parse_lines, read_unfinished
from finetune.run.record import AGAIN, CONFIG, SELECTION_KEY, read_settings
from finetune.run.record import KIND as RUN


def find_history(name: str) -> Path:
    """Return a path, or the folder of a run below the home of runs."""
    run = home() / "runs" / name
    return run if run.is_dir() and not Path(name).exists() else Path(name)


def verdicts_on(path: Path, columns: Mapping[str, str] | None = None) -> tuple[History, dict[str, Verdict]]:
    """Return the history at a path and the verdict with every eval set in it."""
    if (path / CONFIG).is_file() and not columns:
        lines = lines_so_far(path)
        return History({EVAL: points_of(lines)}, {}, [], []), {EVAL: verdict_on_run(path, lines)}
    history = read_history(path, columns)
    return history, {name: judge(points) for name, points in history.eval_sets.items()}


def lines_so_far(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's history: of a finished run as its manifest signed them, else as far as written."""
    if not (folder / MANIFEST).is_file():
        return read_unfinished(folder)
    return parse_lines(read_output(folder, read_manifest(folder, RUN), HISTORY, AGAIN), folder / HISTORY)


def verdict(history: str | Path | Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> Verdict:
    """Return the verdict on a run (folder or name), a file of losses, or the lines of a history.

    Of a file with several eval sets it is the gravest. `columns` names those of a file that is not recognised: step,
    train_loss, eval_loss. Raises `UserError` for a file that holds no losses.
    """
    if not isinstance(history, str | Path):
        return judge(points_of(history))
    _, verdicts = verdicts_on(find_history(str(history)), columns)
    return verdicts[gravest(verdicts)]


def verdict_on_run(folder: Path, lines: Sequence[Mapping[str, Any]]) -> Verdict:
    """Return the verdict on a run of ours, finished or not, from the lines of its history."""
    return verdict_on_lines(lines, _selected_tokens(folder), training=not (folder / MANIFEST).is_file())


def verdict_on_lines(
    lines: Sequence[Mapping[str, Any]], selected_tokens: int | None, training: bool = False
) -> Verdict:
    """Return the verdict on the lines of one of our histories; `selected_tokens` are those of the run's selection."""
    seen = lines[-1].get("tokens_seen") if lines else None
    share = seen / selected_tokens if seen is not None and selected_tokens else None
    updates = max((int(line["step"]) for line in lines), default=0)
    return judge(points_of(lines), Context(training, updates, share))


def _selected_tokens(folder: Path) -> int | None:
    """Return the tokens of the selection that a run trains on; None where that cannot be read any more."""
    with contextlib.suppress(UserError):
        recorded = read_manifest(folder, RUN).config.get("selected_tokens")
        if isinstance(recorded, int):
            return recorded
    with contextlib.suppress(UserError, TypeError):
        selection = Path(read_settings(folder)[SELECTION_KEY])
        return read_manifest(selection, SELECTION).counts.get("selected_tokens")
    return None
