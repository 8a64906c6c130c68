"""`evalsuite compare`: finished runs by eval loss, or anybody's per-task result files by share passed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curate.errors import UsageError, UserError
from curate.page import format_number
from evaluate_suite.config import ReportConfig
from evaluate_suite.reporting.measures import EVAL_LOSS, loss_measure
from evaluate_suite.reporting.recipe import prepare, score_holdout
from evaluate_suite.reporting.strategies import (
    compare_groups,
    equivalent_sentence,
    group_runs,
    random_equivalents,
)
from evaluate_suite.statistics.equivalents import RandomEquivalent
from evaluate_suite.statistics.levels import LevelledComparison, MeasuredRun, compare_strategies
from evaluate_suite.statistics.pairs import (
    Interval,
    PairedDifference,
    compare_runs,
    mean_with_interval,
    overall_winner,
    ratio_with_interval,
    share_with_interval,
)
from evaluate_suite.tasks.numbered_rows import read_numbered_rows

LOSS, PASSED = "eval loss (nats per token)", "share passed"


@dataclass(frozen=True)
class ComparedModels:
    """Each model's own estimate, every pair of them, and what else is to be known.

    For runs of several draws or seeds, and for files named as draws, `strategies` has the same over strategies;
    `random_equivalents` is what each is worth in random tokens.
    """

    measure: str
    higher_is_better: bool
    estimates: dict[str, Interval]
    pairs: list[PairedDifference]
    strategies: LevelledComparison | None = None
    random_equivalents: dict[str, RandomEquivalent] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def winner(self) -> str | None:
        """Who is shown to beat all others: a strategy where they are compared, else a model."""
        return overall_winner(self.pairs if self.strategies is None else self.strategies.pairs)

    def as_record(self) -> dict[str, Any]:
        """As `--json` prints it."""
        levels = self.strategies
        return {
            "measure": self.measure,
            "higher_is_better": self.higher_is_better,
            "models": {name: asdict(estimate) for name, estimate in self.estimates.items()},
            "pairs": [pair.to_json() for pair in self.pairs],
            "winner": self.winner,
            "strategies": None if levels is None else asdict(levels),
            "random_equivalents": {name: found.to_json() for name, found in self.random_equivalents.items()},
            "notes": self.notes,
        }


def compare_given(given: Sequence[str]) -> ComparedModels:
    """The comparison of runs (names or folders), or of result files (paths that end in .jsonl); never of both.

    `NAME=A.jsonl,B.jsonl` names files that are draws of the strategy NAME, each a selection and training of its own.
    """
    if len(given) < 2:
        raise UsageError(f"There is nothing to compare with {given[0] if given else 'nothing'}.", "Name two or more.")
    files = [name for name in given if name.endswith(".jsonl")]
    if files and len(files) < len(given):
        raise UsageError("Runs and result files cannot be compared with each other.", "Name runs, or files, alone.")
    return compare_files([_named_files(name) for name in files]) if files else compare_run_losses(given)


def _named_files(given: str) -> tuple[str, list[str]]:
    """(strategy, its files) of `NAME=A.jsonl,B.jsonl`; a file alone is a strategy of its own."""
    name, named, files = given.partition("=")
    if Path(given).exists() or not named or not name:
        return given, [given]
    return name, files.split(",")


def compare_files(strategies: Sequence[tuple[str, Sequence[str]]]) -> ComparedModels:
    """Share passed by task on the tasks that all files have, paired by task; samples of a task are averaged first.

    With one sample a task the share has Wilson's interval and pairs McNemar's exact test; with several, the mean over
    tasks is the unbiased pass@1, and the task is the unit of every interval and test. Where a strategy has several
    files, strategies are compared too, with the file as the unit.
    """
    strategy_of = {path: name for name, files in strategies for path in files}
    read = {path: read_passed(Path(path)) for path in strategy_of}
    if len(read) < sum(len(files) for _, files in strategies):
        raise UsageError("A file is named twice.", "Name each file once.")
    if len(names := [name for name, _ in strategies]) > len(set(names)):
        raise UsageError(f"A name is given twice ({', '.join(names)}).", "Write its files as NAME=A.jsonl,B.jsonl.")
    common = sorted(set.intersection(*(set(tasks) for tasks in read.values())))
    if not common:
        raise UserError("The files have no task_id in common.", "Compare results of the same tasks.")
    values: dict[str, dict[Hashable, float]] = {
        name: {task: sum(tasks[task]) / len(tasks[task]) for task in common} for name, tasks in read.items()
    }
    single = all(len(tasks[task]) == 1 for tasks in read.values() for task in common)
    estimates = {
        name: share_with_interval(int(sum(shares.values())), len(common))
        if single
        else mean_with_interval(list(shares.values()))
        for name, shares in values.items()
    }
    notes = [
        f"{name} has {len(tasks) - len(common)} tasks that not every file has; they are left out."
        for name, tasks in read.items()
        if len(tasks) > len(common)
    ]
    pairs = compare_runs(values, higher_is_better=True, unit="tasks")
    if len(strategies) == len(read) or len(strategies) < 2:
        return ComparedModels(PASSED, True, estimates, pairs, notes=notes)
    runs = [MeasuredRun(path, strategy_of[path], path, None, shares) for path, shares in values.items()]
    levels = compare_strategies(runs, higher_is_better=True, bounds=(0.0, 1.0))
    return ComparedModels(PASSED, True, estimates, pairs, levels, notes=[*notes, *levels.notes])


def read_passed(path: Path) -> dict[str, list[float]]:
    """Outcomes (0 or 1) by task_id of a JSONL file with `task_id` and `passed`.

    What `evalsuite execute` left unscored (`passed` null, with a reason) is left out here too.
    """
    found: dict[str, list[float]] = {}
    for number, row in read_numbered_rows(path):
        if row.get("passed", 0) is None and row.get("reason"):
            continue
        if row.get("task_id") is None or not isinstance(row.get("passed"), bool):
            names = ", ".join(row) or "none"
            answers = {"completion", "solution", "resps", "filtered_resps"} & set(row)
            raise UserError(
                f"{path}:{number}: no task_id with passed true or false (fields: {names}).",
                f"These are answers: run them first, evalsuite execute --tasks TASKS --generations {path} --execute."
                if answers
                else 'A line looks like {"task_id": "HumanEval/0", "passed": true}.',
            )
        found.setdefault(str(row["task_id"]), []).append(float(row["passed"]))
    if not found:
        raise UserError(f"{path} holds no results.", 'A line looks like {"task_id": "HumanEval/0", "passed": true}.')
    return found


def compare_run_losses(given: Sequence[str]) -> ComparedModels:
    """Eval loss of finished runs on their shared holdout, paired by row, every token weighing the same."""
    work = prepare(ReportConfig(runs=tuple(given)))
    score_holdout(work)
    measure = loss_measure(work.evaluations)
    values = {e.name: measure.values[e.name] for e in work.evaluations}
    estimates = {
        e.name: ratio_with_interval([row.nll for row in e.tuned_losses], [row.tokens for row in e.tuned_losses])
        for e in work.evaluations
    }
    pairs = compare_runs(values, higher_is_better=False, weights=measure.weights)
    groups = group_runs(work.evaluations)
    levels = compare_groups(work.evaluations, groups, [measure]).get(EVAL_LOSS)
    worth = random_equivalents(work.evaluations, groups)
    notes = [*(levels.notes if levels else []), *(equivalent_sentence(name, found) for name, found in worth.items())]
    if levels is None or levels.scope != "strategies":
        notes.append("Pairs of runs are about these runs, not their strategies: the rows alone are their unit.")
    return ComparedModels(LOSS, False, estimates, pairs, levels, worth, notes)


def comparison_lines(compared: ComparedModels) -> list[str]:
    """The comparison as text for a terminal: estimates, pairs, strategies where there are several draws, the winner."""
    lines = [compared.measure, *_estimate_lines(compared.estimates)]
    lines += ["", "second minus first", *(_pair_line(pair) for pair in compared.pairs)]
    if compared.strategies is not None:
        levels = compared.strategies
        lines += ["", f"{compared.measure}, taken together (about these {levels.scope})"]
        lines += _estimate_lines(levels.estimates)
        lines += ["", "second minus first", *(_pair_line(pair) for pair in levels.pairs)]
    lines += ["", *compared.notes] if compared.notes else []
    return [*lines, "", f"Winner: {compared.winner}." if compared.winner else "No winner is shown."]


def _estimate_lines(estimates: Mapping[str, Interval]) -> list[str]:
    width = max(len(name) for name in estimates)
    lines = []
    for name, e in estimates.items():
        between = "" if e.low is None else f"  ({format_number(e.low, 4)} to {format_number(e.high, 4)})"
        lines.append(f"  {name:<{width}}  {format_number(e.estimate, 4)}{between}  n {e.n}")
    return lines


def _pair_line(pair: PairedDifference) -> str:
    """One pair in a line: effect, interval, corrected p values, and what was shown or could have been."""
    who = f"  {pair.second} minus {pair.first}:"
    if pair.effect is None:
        return f"{who} not compared: {pair.reason}"
    text = f"{who} {format_number(pair.effect, 4)}"
    if pair.low is not None:
        text += f" ({format_number(pair.low, 4)} to {format_number(pair.high, 4)})"
    text += (
        f", {pair.n_units} {pair.unit}, p {format_number(pair.p_holm, 4)} (Holm) {format_number(pair.p_fdr, 4)} (FDR)"
    )
    if pair.winner is not None:
        return f"{text}: {pair.winner} is better"
    if pair.smallest_detectable is None:
        return f"{text}: no difference shown"
    return f"{text}: no difference shown; {format_number(pair.smallest_detectable, 4)} would have been, 4 times in 5"
