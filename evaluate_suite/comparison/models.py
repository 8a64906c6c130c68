"""`evalsuite compare`: finished runs by eval loss, or anybody's per-task result files by share passed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field, computed_field

from curate.artifact import RecordPart
from curate.errors import UsageError, UserError, did_you_mean
from evaluate_suite.comparison.result_files import read_passed
from evaluate_suite.config import ReportConfig
from evaluate_suite.reporting.measures import EVAL_LOSS, loss_measure
from evaluate_suite.reporting.parts import parts_of
from evaluate_suite.reporting.recipe import prepare, score_holdout
from evaluate_suite.reporting.strategies import (
    StrategyGroups,
    compare_groups,
    equivalent_sentence,
    group_runs,
    random_equivalents,
)
from evaluate_suite.reporting.work import Evaluation
from evaluate_suite.statistics.bounded import bounded_mean_interval, within_bounds
from evaluate_suite.statistics.equivalents import RandomEquivalent
from evaluate_suite.statistics.levels import DRAWS, SCOPES, LevelledComparison, MeasuredRun, compare_strategies
from evaluate_suite.statistics.pairs import (
    compare_runs,
    overall_winner,
    ratio_with_interval,
    share_with_interval,
)
from evaluate_suite.statistics.types import Estimate, PairedDifference

LOSS, PASSED = "eval loss (nats per token)", "share passed"


class ComparedModels(RecordPart):
    """A whole comparison, as `--json` prints it: each model, every pair of them, and what else is to be known.

    For runs of several draws or seeds, and for files named as draws, `strategies` has the same over strategies;
    `random_equivalents` is what each is worth in random tokens. With a `baseline` only its pairs are compared. `parts`
    are the same comparison on parts of the holdout, by name.
    """

    measure: str
    higher_is_better: bool
    estimates: dict[str, Estimate] = Field(serialization_alias="models")
    pairs: list[PairedDifference]
    strategies: LevelledComparison | None = None
    random_equivalents: dict[str, RandomEquivalent] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    baseline: str | None = None
    parts: dict[str, ComparedModels] = Field(default_factory=dict)

    @property
    def deciding(self) -> list[PairedDifference]:
        """The pairs that the answer stands on: those of strategies where they are compared, else those of models."""
        return self.pairs if self.strategies is None else self.strategies.pairs

    @computed_field  # type: ignore[prop-decorator]
    @property
    def winner(self) -> str | None:
        """Who is shown to beat all others: a strategy where they are compared, else a model.

        With a baseline that can only be the baseline: the others were not compared with each other.
        """
        winner = overall_winner(self.deciding)
        others_compared = self.baseline is None or len(self.deciding) == 1
        return winner if others_compared or winner == self.baseline else None


def compare(models: Sequence[str], baseline: str | None = None, by: str | None = None) -> ComparedModels:
    """The comparison of runs (names or folders), or of result files (JSON lines); never of both.

    `NAME=A.jsonl,B.jsonl` names files that are draws of the strategy NAME, each a selection and training of its own.
    With a `baseline`, a strategy or a model by its name, nothing but its pairs is compared and corrected for. With `by`
    runs are also compared on the held-out rows of each value of that column (`source`, or one that travelled) alone.
    """
    if len(models) < 2:
        raise UsageError(f"There is nothing to compare with {models[0] if models else 'nothing'}.", "Name two or more.")
    files = [name for name in models if _are_files(name)]
    if files and len(files) < len(models):
        raise UsageError("Runs and result files cannot be compared with each other.", "Name runs, or files, alone.")
    if files and by is not None:
        raise UsageError(f"--by {by} is for runs: files of results do not say it.", "Leave it out.")
    if files:
        return compare_files([_named_files(name) for name in files], baseline)
    return compare_run_losses(models, baseline, by)


def _baselines(
    baseline: str | None, strategy_of: Mapping[str, str], several_draws: bool
) -> tuple[str | None, str | None]:
    """(the strategy, the model) that the others are compared with; a model's strategy is the baseline of strategies.

    A strategy of several draws is no model: its name leaves the pairs of single models out.
    """
    if baseline is None:
        return None, None
    if baseline in strategy_of:
        return strategy_of[baseline], baseline
    if several_draws and baseline in strategy_of.values():
        return baseline, None
    names = list(dict.fromkeys([*(strategy_of.values() if several_draws else ()), *strategy_of]))
    raise UsageError(f'--baseline "{baseline}" is none of what is compared.', did_you_mean(baseline, names))


def _are_files(word: str) -> bool:
    """Whether a word names files of results: by their ending, or because they are there; a run is a folder."""
    paths = [Path(path) for path in _named_files(word)[1]]
    return any(path.name.endswith((".jsonl", ".jsonl.gz")) or (path.suffix and path.is_file()) for path in paths)


def _named_files(word: str) -> tuple[str, list[str]]:
    """Return (strategy, its files) of `NAME=A.jsonl,B.jsonl`; a file alone is a strategy of its own."""
    name, named, files = word.partition("=")
    if Path(word).exists() or not named or not name:
        return word, [word]
    return name, files.split(",")


def compare_files(strategies: Sequence[tuple[str, Sequence[str]]], baseline: str | None = None) -> ComparedModels:
    """Share passed by task on the tasks that all files have, paired by task; samples of a task are averaged first.

    With one sample a task the share has Wilson's interval and pairs McNemar's exact test; with several, the mean over
    tasks is the unbiased pass@1, and the task is the unit of every interval and test. Where a strategy has several
    files, strategies are compared too, with the file as the unit.
    """
    strategy_of = {path: name for name, files in strategies for path in files}
    if "" in strategy_of:
        raise UsageError("A name has no file.", "Write NAME=A.jsonl,B.jsonl.")
    read = {path: read_passed(Path(path)) for path in strategy_of}
    if len({Path(path).resolve() for path in read}) < sum(len(files) for _, files in strategies):
        raise UsageError("A file is named twice.", "Name each file once.")
    if len(names := [name for name, _ in strategies]) > len(set(names)):
        raise UsageError(f"A name is given twice ({', '.join(names)}).", "Write its files as NAME=A.jsonl,B.jsonl.")
    several_draws = 2 <= len(strategies) < len(read)
    base_strategy, base_model = _baselines(baseline, strategy_of, several_draws)
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
        else bounded_mean_interval(list(shares.values()), (0.0, 1.0))
        for name, shares in values.items()
    }
    notes = [
        f"{name} has {left} {'task' if left == 1 else 'tasks'} that not every file has, left out here."
        for name, tasks in read.items()
        if (left := len(tasks) - len(common))
    ]
    pairs = (
        []
        if baseline is not None and base_model is None
        else compare_runs(values, higher_is_better=True, unit="tasks", measure=PASSED, baseline=base_model)
    )
    pairs = [within_bounds(pair, (0.0, 1.0)) for pair in pairs]
    if not several_draws:
        return ComparedModels(
            measure=PASSED, higher_is_better=True, estimates=estimates, pairs=pairs, notes=notes, baseline=baseline
        )
    runs = [MeasuredRun(path, strategy_of[path], path, None, shares) for path, shares in values.items()]
    levels = compare_strategies(runs, higher_is_better=True, bounds=(0.0, 1.0), measure=PASSED, baseline=base_strategy)
    levels = replace(levels, pairs=[within_bounds(pair, (0.0, 1.0)) for pair in levels.pairs])
    return ComparedModels(
        measure=PASSED,
        higher_is_better=True,
        estimates=estimates,
        pairs=pairs,
        strategies=levels,
        notes=[*notes, *levels.notes],
        baseline=base_strategy,
    )


def compare_run_losses(runs: Sequence[str], baseline: str | None = None, by: str | None = None) -> ComparedModels:
    """Eval loss of finished runs on their shared holdout, paired by row, every token weighing the same.

    With `by`, the same on the held-out rows of each value of that column alone.
    """
    work = prepare(ReportConfig(runs=tuple(runs)))
    groups = group_runs(work.evaluations)
    several_draws = 2 <= len(set(groups.group.values())) < len(work.evaluations)
    baselines = _baselines(baseline, groups.group, several_draws)
    score_holdout(work)
    parts, notes = parts_of(work.rows.scored, by)
    compared = _compare_losses(work.evaluations, groups, baselines, baseline)
    on_parts = {
        part.value: _compare_losses(part.evaluations(work.evaluations), groups, baselines, baseline) for part in parts
    }
    return compared.model_copy(update={"parts": on_parts, "notes": [*compared.notes, *notes]})


def _compare_losses(
    evaluations: Sequence[Evaluation],
    groups: StrategyGroups,
    baselines: tuple[str | None, str | None],
    baseline: str | None,
) -> ComparedModels:
    base_strategy, base_model = baselines
    measure = loss_measure(evaluations)
    values = {e.name: measure.values[e.name] for e in evaluations}
    estimates = {
        e.name: ratio_with_interval([row.nll for row in e.tuned_losses], [row.tokens for row in e.tuned_losses])
        for e in evaluations
    }
    pairs = (
        []
        if baseline is not None and base_model is None
        else compare_runs(
            values, higher_is_better=False, weights=measure.weights, measure=measure.name, baseline=base_model
        )
    )
    levels = compare_groups(evaluations, groups, [measure], base_strategy).get(EVAL_LOSS)
    worth = random_equivalents(evaluations, groups)
    notes = [*(levels.notes if levels else []), *(equivalent_sentence(*item) for item in worth.items())]
    if levels is None or levels.scope != SCOPES[DRAWS]:
        notes.append("Pairs of runs are about these runs, not their strategies: the rows alone are their unit.")
    return ComparedModels(
        measure=LOSS,
        higher_is_better=False,
        estimates=estimates,
        pairs=pairs,
        strategies=levels,
        random_equivalents=worth,
        notes=notes,
        baseline=base_model if levels is None else base_strategy,
    )
