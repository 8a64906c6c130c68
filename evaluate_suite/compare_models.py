"""`evalsuite compare`: finished runs by eval loss, or anybody's per-task result files by share passed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import UsageError, UserError

if TYPE_CHECKING:
    from evaluate_suite.comparison import Interval, PairedDifference

EVAL_LOSS, PASSED = "eval loss (nats per token)", "share passed"


@dataclass(frozen=True)
class ComparedModels:
    """Each model's own estimate and every pair of them."""

    measure: str
    estimates: dict[str, Interval]
    pairs: list[PairedDifference]

    def as_record(self) -> dict[str, Any]:
        """As `--json` prints it."""
        from dataclasses import asdict

        estimates = {name: asdict(estimate) for name, estimate in self.estimates.items()}
        return {"measure": self.measure, "models": estimates, "pairs": [pair.to_json() for pair in self.pairs]}


def compare_given(given: Sequence[str]) -> ComparedModels:
    """The comparison of runs (names or folders), or of result files (paths that end in .jsonl); never of both."""
    if len(given) < 2:
        raise UsageError(f"There is nothing to compare with {given[0] if given else 'nothing'}.", "Name two or more.")
    files = [name for name in given if name.endswith(".jsonl")]
    if files and len(files) < len(given):
        raise UsageError("Runs and result files cannot be compared with each other.", "Name runs, or files, alone.")
    return compare_files([Path(name) for name in files]) if files else compare_run_losses(given)


def compare_files(paths: Sequence[Path]) -> ComparedModels:
    """Share passed by task, paired by task, clustered where a task has several samples."""
    from evaluate_suite.comparison import compare_runs, ratio_with_interval

    read = {str(path): read_passed(path) for path in paths}
    if len(read) < len(paths):
        raise UsageError("A file is named twice.", "Name each file once.")
    common = set.intersection(*(set(tasks) for tasks in read.values()))
    if not common:
        raise UserError("The files have no task_id in common.", "Compare results of the same tasks.")
    estimates = {
        name: ratio_with_interval([sum(v) for v in tasks.values()], [len(v) for v in tasks.values()])
        for name, tasks in read.items()
    }
    values: dict[str, dict[Hashable, float]] = {
        name: {task: sum(tasks[task]) / len(tasks[task]) for task in sorted(common)} for name, tasks in read.items()
    }
    return ComparedModels(PASSED, estimates, compare_runs(values, higher_is_better=True))


def read_passed(path: Path) -> dict[str, list[float]]:
    """Outcomes (0 or 1) by task_id of a JSONL file with `task_id` and `passed`."""
    from curate.artifact import read_jsonl

    found: dict[str, list[float]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        if row.get("task_id") is None or not isinstance(row.get("passed"), bool):
            names = ", ".join(row) or "none"
            raise UserError(
                f"{path}: row {number} has no task_id with passed true or false (fields: {names}).",
                'A line looks like {"task_id": "HumanEval/0", "passed": true}.',
            )
        found.setdefault(str(row["task_id"]), []).append(float(row["passed"]))
    if not found:
        raise UserError(f"{path} holds no results.", 'A line looks like {"task_id": "HumanEval/0", "passed": true}.')
    return found


def compare_run_losses(given: Sequence[str]) -> ComparedModels:
    """Eval loss of finished runs on their shared holdout, paired by row, every token weighing the same."""
    from evaluate_suite.comparison import compare_runs, ratio_with_interval
    from evaluate_suite.report import ReportRequest, prepare, score_holdout

    work = prepare(ReportRequest(given))
    score_holdout(work)
    losses = {e.name: e.tuned_losses for e in work.evaluations}
    weights: dict[Hashable, float] = {row.row_id: row.tokens for row in work.evaluations[0].tuned_losses}
    values: dict[str, dict[Hashable, float]] = {
        name: {row.row_id: row.nll for row in rows} for name, rows in losses.items()
    }
    estimates = {
        name: ratio_with_interval([row.nll for row in rows], [row.tokens for row in rows])
        for name, rows in losses.items()
    }
    return ComparedModels(EVAL_LOSS, estimates, compare_runs(values, higher_is_better=False, weights=weights))


def pair_line(pair: PairedDifference) -> str:
    """One pair in a line for the terminal: effect, interval, adjusted p, and what was shown or could have been."""
    from curate.page import format_number

    if pair.effect is None:
        return f"not compared: {pair.reason}"
    text = f"{format_number(pair.effect, 4)}"
    if pair.low is not None:
        text += f" ({format_number(pair.low, 4)} to {format_number(pair.high, 4)})"
    text += f", n {pair.n}, p {format_number(pair.p_holm, 4)} (Holm)"
    if pair.winner is not None:
        return f"{text}: {pair.winner} is better"
    return f"{text}: no difference shown; {format_number(pair.smallest_detectable, 4)} could have been seen"
