"""THE RECIPE of `evalsuite study`: strategies x draws x seeds -> selections -> runs -> one report on the strategies.

A draw is a selection made with its own seed; every selection is trained with every training seed. What is finished is
reused and what was begun goes on, so the same command after a crash takes up where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.artifact import MANIFEST, digest_json, finished, read_manifest
from curate.config import SelectConfig
from curate.console import say
from curate.errors import UsageError
from curate.pipeline import select
from curate.selection.record import KIND, Selection, read_selection, selections_dir
from evaluate_suite.config import DRAWS, SEEDS, ReportConfig
from evaluate_suite.reporting.recipe import Report, report
from finetune.config import RunConfig, load_config, preset_for
from finetune.recipe import train
from finetune.run.record import CONFIG, readable_runs, run_folder

RANDOM = "random"


@dataclass(frozen=True)
class StudyRequest:
    """What to study. `base` holds everything of a selection but strategy and seed; `random_budgets` are further sizes
    (rows, or tokens where `base` has a token budget) at which random is drawn too, for the random-equivalents."""

    strategies: Sequence[str]
    base: SelectConfig
    recipe: RunConfig
    draws: int = DRAWS
    seeds: int = SEEDS
    random_budgets: Sequence[int] = ()
    out: Path | None = None
    prompts: Path | None = None
    max_new_tokens: int | None = None
    wandb_mode: str | None = None

    def check(self) -> None:
        """Raise a `UsageError` for what is wrong in itself."""
        for name in self.strategies:
            self.base.model_copy(update={"strategy": name}).check()
        if len(set(self.strategies)) < len(self.strategies):
            raise UsageError(f"A strategy is named twice ({', '.join(self.strategies)}).", "Name each once.")
        for name, value in (("draws", self.draws), ("seeds", self.seeds)):
            if value < 1:
                raise UsageError(f"--{name} is {value}; it must be at least 1.", "Take 3 or more to see chance.")
        if any(budget < 1 for budget in self.random_budgets):
            raise UsageError(f"--random-budgets has {min(self.random_budgets)}; allowed: 1 and more.", "")
        if self.wandb_mode not in (None, "online", "offline", "off"):
            raise UsageError(f'--wandb is "{self.wandb_mode}".', "Allowed: off, offline, online.")
        if self.base.model != self.recipe.model:
            raise UsageError(
                f"Rows are counted for {self.base.model}, but the settings train {self.recipe.model}.",
                f"Take --model {self.recipe.model}, or another preset.",
            )


def base_and_recipe(
    chosen: Mapping[str, Any], preset: str | None, config: Path | None, overrides: Sequence[str]
) -> tuple[SelectConfig, RunConfig]:
    """What every selection and every run of a study share; `chosen` are selection settings, None where not given."""
    given = {name: value for name, value in chosen.items() if value is not None}
    if {"k", "token_budget"} <= set(given):
        raise UsageError("--k and --token-budget are both given.", "Give one of them.")
    model = given.get("model")
    recipe = load_config(preset or preset_for(model or SelectConfig().model), config, overrides, model)
    return SelectConfig(**{**given, "model": model or recipe.model}), recipe


@dataclass(frozen=True)
class PlannedSelection:
    """One draw of one strategy; `made` is its finished selection, where there is one already."""

    config: SelectConfig
    made: Path | None

    @property
    def label(self) -> str:
        size = f"k{self.config.k}" if self.config.token_budget is None else f"t{self.config.token_budget}"
        return f"{self.config.strategy} {size}"


@dataclass(frozen=True)
class StudyPlan:
    """What a study will make. Times are None while no run of the same model is finished here to go by."""

    selections: list[PlannedSelection]
    runs: int
    finished_runs: int
    seconds_a_run: float | None
    notes: list[str] = field(default_factory=list)

    def as_record(self) -> dict[str, Any]:
        """As `--json` prints it."""
        left = self.runs - self.finished_runs
        return {
            "selections": [
                {"strategy": s.label, "draw": s.config.seed, "made": None if s.made is None else s.made.name}
                for s in self.selections
            ],
            "runs": self.runs,
            "finished_runs": self.finished_runs,
            "seconds_a_run": self.seconds_a_run,
            "seconds": None if self.seconds_a_run is None else self.seconds_a_run * left,
            "notes": self.notes,
        }


def study(request: StudyRequest, command: Sequence[str] = ()) -> Report:
    """The finished report on every run of the study, made or, where it exists already, reused."""
    plan = plan_study(request)
    selections = make_selections(plan, command)
    runs = train_all(request, plan, selections, command)
    names = tuple(str(run) for run in runs)
    config = ReportConfig(runs=names, prompts=request.prompts, max_new_tokens=request.max_new_tokens)
    return report(config, request.out, command)


def plan_study(request: StudyRequest) -> StudyPlan:
    """What there is to do, and what of it is done. Reads manifests only: nothing is loaded, selected or trained."""
    request.check()
    notes = []
    names = list(request.strategies)
    if RANDOM not in names:
        names.append(RANDOM)
        notes.append("random is added: it is the bar for all others.")
    known = _finished_selections()
    planned = [
        PlannedSelection(config, known.get(_identity(config)))
        for config in [*_configs(request, names), *_random_configs(request)]
    ]
    for config in (s.config for s in planned):
        config.check()
    plan = StudyPlan(planned, len(planned) * request.seeds, 0, _seconds_a_run(request), notes)
    made = {s.made: read_selection(s.made) for s in planned if s.made is not None}
    whole = [s for s in planned if all(o.made is not None for o in planned if o.label == s.label)]
    known_jobs = [made[s.made] for s in whole if s.made is not None]
    jobs = _jobs(replace(plan, selections=whole), known_jobs, request.seeds)
    finished = sum(_is_finished(request, selection, seed) for selection, seed in jobs)
    if request.draws < 2:
        notes.append("One draw: the report is about these runs, not about the strategies. Take --draws 3 or more.")
    return replace(plan, finished_runs=finished)


def _configs(request: StudyRequest, names: Sequence[str]) -> list[SelectConfig]:
    return [
        request.base.model_copy(update={"strategy": name, "seed": draw})
        for name in names
        for draw in range(request.draws)
    ]


def _random_configs(request: StudyRequest) -> list[SelectConfig]:
    by_rows = request.base.token_budget is None
    usual = request.base.k if by_rows else request.base.token_budget
    return [
        sized.model_copy(update={"strategy": RANDOM, "strategy_options": {}, "seed": draw})
        for budget in sorted(set(request.random_budgets) - {usual})
        for sized in [request.base.model_copy(update={"k" if by_rows else "token_budget": budget})]
        for draw in range(request.draws)
    ]


def is_fixed(digests: Sequence[str]) -> bool:
    """Whether several draws of a strategy all gave the same selection."""
    return len(digests) > 1 and len(set(digests)) == 1


def _identity(config: SelectConfig) -> str:
    record = config.as_record()
    # The manifest records what a template resolved to; plans go by the rest, `select` itself by everything.
    return digest_json({name: value for name, value in record.items() if name != "prompt_template"})


def _finished_selections() -> dict[str, Path]:
    known = {}
    for folder in finished(selections_dir(), KIND):
        config = read_manifest(folder, KIND).config
        fields = {name: config[name] for name in SelectConfig.model_fields if name in config}
        known[_identity(SelectConfig(**fields))] = folder
    return known


def _is_finished(request: StudyRequest, selection: Selection, seed: int) -> bool:
    config = request.recipe.model_copy(update={"seed": seed})
    return (run_folder(config, selection, None) / MANIFEST).is_file()


def _seconds_a_run(request: StudyRequest) -> float | None:
    """Seconds that the newest finished run of the same model took, here, by its own manifest."""
    for run in readable_runs():
        if run.config.model == request.recipe.model:
            return float(sum(run.manifest.seconds.values()))
    return None


def plan_lines(plan: StudyPlan) -> list[str]:
    """The plan as text for a terminal."""
    groups: dict[str, list[PlannedSelection]] = {}
    for selection in plan.selections:
        groups.setdefault(selection.label, []).append(selection)
    seeds = plan.runs // len(plan.selections)
    width = max(len(label) for label in groups)
    lines = [
        f"  {label:<{width}}  {len(members)} draws x {seeds} seeds, {sum(m.made is not None for m in members)} drawn"
        for label, members in groups.items()
    ]
    left = plan.runs - plan.finished_runs
    lines.append(f"{plan.runs} runs, {plan.finished_runs} finished already, {left} to train.")
    if plan.seconds_a_run is None:
        lines.append("How long that takes is not known: no run of this model is finished here.")
    elif left:
        minutes = plan.seconds_a_run * left / 60
        lines.append(f"About {minutes:.0f} minutes, at {plan.seconds_a_run:.0f} s a run as the last one of this model.")
    return [*lines, *plan.notes]


def make_selections(plan: StudyPlan, command: Sequence[str] = ()) -> list[Selection]:
    """Every selection of the plan, made or reused, in its order."""
    made = []
    for number, planned in enumerate(plan.selections, start=1):
        say(f"Selection {number} of {len(plan.selections)}: {planned.label}, draw {planned.config.seed}")
        made.append(select(planned.config, None, command))
    return made


def train_all(
    request: StudyRequest, plan: StudyPlan, selections: Sequence[Selection], command: Sequence[str] = ()
) -> list[Path]:
    """The folders of all runs, trained, taken up or reused."""
    jobs = _jobs(plan, selections, request.seeds)
    started, trained = time.perf_counter(), 0
    runs = []
    for number, (selection, seed) in enumerate(jobs, start=1):
        config = request.recipe.model_copy(update={"seed": seed})
        if not _is_finished(request, selection, seed):
            left = len(jobs) - number + 1
            pace = (
                "" if not trained else f", about {(time.perf_counter() - started) / trained * left / 60:.0f} min left"
            )
            say(f"Run {number} of {len(jobs)}: {selection.path.name}, seed {seed}{pace}")
            trained += 1
        runs.append(train(config, selection, None, _is_begun(config, selection), request.wandb_mode, command).path)
    return runs


def _jobs(plan: StudyPlan, selections: Sequence[Selection], seeds: int) -> list[tuple[Selection, int]]:
    """(selection, training seed) of every run. A strategy whose draws are all one selection is trained as often as the
    others, each time with another seed, so that its chance is measured too."""
    groups: dict[str, list[Selection]] = {}
    for planned, selection in zip(plan.selections, selections, strict=True):
        groups.setdefault(planned.label, []).append(selection)
    jobs = []
    for members in groups.values():
        distinct = list({member.digest: member for member in reversed(members)}.values())[::-1]
        each = seeds * len(members) if is_fixed([member.digest for member in members]) else seeds
        jobs += [(member, seed) for member in distinct for seed in range(each)]
    return jobs


def _is_begun(config: RunConfig, selection: Selection) -> bool:
    """Whether the run's folder holds this run, unfinished."""
    folder = run_folder(config, selection, None)
    return (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file()
