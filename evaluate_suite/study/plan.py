"""What a study will make: strategies x draws x seeds, what of it is finished, and what it could show."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.artifact import MANIFEST, digest_json, finished, read_manifest
from curate.config import SelectConfig
from curate.selection.record import KIND, Selection, read_selection, selections_dir
from evaluate_suite.reporting.strategies import RANDOM
from evaluate_suite.statistics.power import smallest_shown
from evaluate_suite.study.request import StudyRequest
from evaluate_suite.study.variants import group_of, is_random, label_of, of_strategy
from finetune.run.record import KIND as RUN_KIND
from finetune.run.record import readable_runs, run_folder


@dataclass(frozen=True)
class PlannedSelection:
    """One draw of one strategy; `made` is its finished selection, where there is one already."""

    config: SelectConfig
    made: Path | None

    @property
    def label(self) -> str:
        return label_of(self.config)

    @cached_property
    def group(self) -> str:
        """See `group_of`."""
        return group_of(self.config)


@dataclass(frozen=True)
class StudyPlan:
    """What a study will make. Times are None while no run of the same model is finished here to go by."""

    selections: list[PlannedSelection]
    runs: int
    finished_runs: int
    seconds_a_run: float | None
    notes: list[str] = field(default_factory=list)
    smallest_shown: float | None = None  # in spreads of a draw
    draw_spread: float | None = None  # of finished runs of the same cells, in nats a token

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
            "smallest_shown_in_draw_spreads": self.smallest_shown,
            "draw_spread": self.draw_spread,
            "notes": self.notes,
        }


def plan_study(request: StudyRequest) -> StudyPlan:
    """What there is to do, and what of it is done. Reads manifests only: nothing is loaded, selected or trained."""
    request.check()
    notes = []
    variants = request.variants()
    if not any(map(is_random, variants)):
        variants.append(of_strategy(request.base, RANDOM, {}, None))
        notes.append("random is added: it is the bar for all others.")
    known = _finished_selections()
    asked = [*_draws(variants, request.draws), *_random_configs(request)]  # a cell may be random at a further size
    by_identity = {_identity(config): config for config in asked}
    planned = [PlannedSelection(config, known.get(identity)) for identity, config in by_identity.items()]
    for config in (s.config for s in planned):
        config.check()
    plan = StudyPlan(planned, len(planned) * request.seeds, 0, seconds_a_run(request.recipe.model), notes)
    made = {s.made: read_selection(s.made) for s in planned if s.made is not None}
    whole = [s for s in planned if all(o.made is not None for o in planned if o.group == s.group)]
    known_jobs = [made[s.made] for s in whole if s.made is not None]
    jobs = planned_jobs(replace(plan, selections=whole), known_jobs, request.seeds)
    finished = sum(is_finished_run(request, selection, seed) for selection, seed in jobs)
    if request.draws < 2:
        about = "runs" if request.seeds < 2 else "selections"
        notes.append(f"One draw: the report is about these {about}, not about the strategies. Take --draws 3 or more.")
    # A draw's seeds are averaged: they are units of their own only where nothing was drawn twice.
    units = request.draws if request.draws > 1 else request.seeds
    return replace(
        plan,
        finished_runs=finished,
        smallest_shown=smallest_shown([units] * len({each.group for each in planned})),
        draw_spread=_known_spread(request, jobs),
    )


def _known_spread(request: StudyRequest, jobs: Sequence[tuple[Selection, int]]) -> float | None:
    """The pooled standard deviation of eval loss between the finished draws of one cell, each the mean of its seeds, or
    between the seeds of a cell with one selection; None where no cell has two."""
    losses: dict[str, dict[Path, list[float]]] = {}
    for selection, seed in jobs:
        folder = run_folder(request.recipe.model_copy(update={"seed": seed}), selection, None)
        loss = read_manifest(folder, RUN_KIND).config.get("best_eval_loss") if (folder / MANIFEST).is_file() else None
        if loss is not None:
            losses.setdefault(group_of(_config_of(selection.manifest.config)), {}).setdefault(
                selection.path, []
            ).append(float(loss))
    cells = [
        [statistics.fmean(seeds) for seeds in draws.values()] if len(draws) > 1 else next(iter(draws.values()))
        for draws in losses.values()
    ]
    variances = [(len(units) - 1, statistics.variance(units)) for units in cells if len(units) > 1]
    df = sum(n for n, _ in variances)
    return (sum(n * variance for n, variance in variances) / df) ** 0.5 if df else None


def _draws(variants: Sequence[SelectConfig], draws: int) -> list[SelectConfig]:
    return [variant.model_copy(update={"seed": draw}) for variant in variants for draw in range(draws)]


def _random_configs(request: StudyRequest) -> list[SelectConfig]:
    by_rows = request.base.token_budget is None
    usual = request.base.k if by_rows else request.base.token_budget
    plain = of_strategy(request.base, RANDOM, {}, None)
    sizes = sorted(set(request.random_budgets or ()) - {usual})
    sized = [plain.model_copy(update={"k" if by_rows else "token_budget": size}) for size in sizes]
    return _draws(sized, request.draws)


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
        known[_identity(_config_of(config))] = folder
    return known


def _config_of(recorded: Mapping[str, Any]) -> SelectConfig:
    """The settings of a finished selection; those that it does not know have their defaults."""
    return SelectConfig(**{name: recorded[name] for name in SelectConfig.model_fields if name in recorded})


def is_finished_run(request: StudyRequest, selection: Selection, seed: int) -> bool:
    config = request.recipe.model_copy(update={"seed": seed})
    return (run_folder(config, selection, None) / MANIFEST).is_file()


def seconds_a_run(model: str) -> float | None:
    """Seconds that the newest finished run of the same model took, here, by its own manifest."""
    for run in readable_runs():
        if run.config.model == model:
            return float(sum(run.manifest.seconds.values()))
    return None


def plan_lines(plan: StudyPlan) -> list[str]:
    """The plan as text for a terminal."""
    groups: dict[str, list[PlannedSelection]] = {}
    for selection in plan.selections:
        groups.setdefault(selection.group, []).append(selection)
    seeds = plan.runs // len(plan.selections)
    width = max(len(members[0].label) for members in groups.values())
    lines = []
    for members in groups.values():
        drawn = sum(member.made is not None for member in members)
        lines.append(f"  {members[0].label:<{width}}  {len(members)} draws x {seeds} seeds, {drawn} drawn")
    left = plan.runs - plan.finished_runs
    lines.append(f"{plan.runs} runs, {plan.finished_runs} finished already, {left} to train.")
    if plan.seconds_a_run is None:
        lines.append("How long that takes is not known: no run of this model is finished here.")
    elif left:
        minutes = plan.seconds_a_run * left / 60
        lines.append(f"About {minutes:.0f} minutes, at {plan.seconds_a_run:.0f} s a run as the last one of this model.")
    return [*lines, *_power_lines(plan), *plan.notes]


def _power_lines(plan: StudyPlan) -> list[str]:
    if plan.smallest_shown is None:
        return ["Nothing can be shown about strategies: that takes two of them with two draws or seeds each."]
    drawn_again = len(plan.selections) > len({selection.group for selection in plan.selections})
    units = "draws" if drawn_again else "training seeds"
    text = f"It can show a difference of {plan.smallest_shown:.1f} times the spread between {units}, 4 times in 5"
    if plan.draw_spread is not None:
        size = plan.smallest_shown * plan.draw_spread
        text += f": {size:.4f} nats a token, as far as finished runs of these cells tell"
    return [f"{text}; less where draws of two strategies share picks."]


def planned_jobs(plan: StudyPlan, selections: Sequence[Selection], seeds: int) -> list[tuple[Selection, int]]:
    """(selection, training seed) of every run. A strategy whose draws are all one selection is trained as often as the
    others, each time with another seed, so that its chance is measured too."""
    groups: dict[str, list[Selection]] = {}
    for planned, selection in zip(plan.selections, selections, strict=True):
        groups.setdefault(planned.group, []).append(selection)
    jobs = []
    for members in groups.values():
        distinct = list({member.digest: member for member in reversed(members)}.values())[::-1]
        each = seeds * len(members) if is_fixed([member.digest for member in members]) else seeds
        jobs += [(member, seed) for member in distinct for seed in range(each)]
    return jobs
