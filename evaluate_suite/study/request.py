"""What a study is asked for: strategies or whole cells, and what of their selections and trainings is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.config import SelectConfig
from curate.errors import UsageError
from curate.strategies.table import STRATEGIES, parse_options
from evaluate_suite.config import ProxyConfig, StudyConfig
from evaluate_suite.defaults import DRAWS, NONE, SEEDS
from evaluate_suite.study.plan_file import StudyFile, read_study_file, settings_that_differ
from evaluate_suite.study.variants import group_of, label_of, of_cell, of_strategy, selection_of
from finetune.config import RunConfig, load_config, preset_for, validated

# What may stand beside --file; the file says all else.
_BESIDE_FILE = ("file", "out", "wandb", "dry_run", "as_json", "runner", "workers", "ray_address", "gpu_share")
# What a study varies, by part of its file and setting: where it is said instead.
_VARIED_BY = {
    ("selection", "strategy"): "Name it in strategies.",
    ("selection", "strategy_options"): "Set them in options, by strategy.",
    ("selection", "seed"): "draws says how many there are; their seeds are 0, 1, 2.",
    ("training", "seed"): "seeds says how many there are: 0, 1, 2.",
}
# What a study hands on to `curate select`.
_OF_SELECTION = (
    "dataset", "model", "encoder", "k", "token_budget", "max_tokens", "holdout", "near_duplicate",
)  # fmt: skip


@dataclass(frozen=True)
class StudyRequest:
    """What to study. `base` holds everything of a selection but strategy and seed. Strategies that take a target are
    studied with each of `targets` in turn; `cells` are selections of their own, as settings other than those of `base`.
    `random_budgets` are further sizes (rows, or tokens where `base` has a token budget) at which random is drawn too,
    for the random-equivalents; None: to be chosen (`with_random_budgets`). `by` is the column whose values' losses the
    report gives apart."""

    strategies: Sequence[str]
    base: SelectConfig
    recipe: RunConfig
    draws: int = DRAWS
    seeds: int = SEEDS
    random_budgets: Sequence[int] | None = ()
    options: Mapping[str, Mapping[str, float | int]] = field(default_factory=dict)
    out: Path | None = None
    prompts: Path | None = None
    max_new_tokens: int | None = None
    wandb_mode: str | None = None
    by: str | None = None
    targets: Sequence[str] = ()
    cells: Sequence[Mapping[str, Any]] = ()

    def check(self) -> None:
        """Raise a `UsageError` for what is wrong in itself."""
        for name in self.strategies:
            self.base.model_copy(update={"strategy": name}).check()
        if not self.strategies and not self.cells:
            raise UsageError("Nothing is studied.", "Name strategies, or cells.")
        for name in set(self.options) - set(self.strategies):
            raise UsageError(f"Options are given for {name}, which is not studied.", "Name it in strategies, too.")
        if len(set(self.strategies)) < len(self.strategies):
            raise UsageError(f"A strategy is named twice ({', '.join(self.strategies)}).", "Name each once.")
        if self.targets and not any(STRATEGIES[name].takes_target for name in self.strategies):
            raise UsageError(
                f"None of {', '.join(self.strategies) or 'the strategies'} takes a --target.",
                "Leave it out, or name a strategy that does: target-words.",
            )
        seen: set[str] = set()
        for variant in self.variants():
            variant.check()
            variant.check_needs()
            parse_options([variant.strategy], [f"{name}={value}" for name, value in variant.strategy_options.items()])
            if group_of(variant) in seen:
                raise UsageError(f"{label_of(variant)} is asked for twice.", "Name each cell once.")
            seen.add(group_of(variant))
        for name, value in (("draws", self.draws), ("seeds", self.seeds)):
            if value < 1:
                raise UsageError(f"--{name} is {value}; it must be at least 1.", "Take 3 or more to see chance.")
        if any(budget < 1 for budget in self.random_budgets or ()):
            raise UsageError(f"--random-budgets has {min(self.random_budgets or ())}; allowed: 1 and more.", "")
        if self.wandb_mode not in (None, "online", "offline", "off"):
            raise UsageError(f'--wandb is "{self.wandb_mode}".', "Allowed: off, offline, online.")
        if self.base.model != self.recipe.model:
            raise UsageError(
                f"Rows are counted for {self.base.model}, but the settings train {self.recipe.model}.",
                f"Take --model {self.recipe.model}, or another preset.",
            )

    def variants(self) -> list[SelectConfig]:
        """The selection, of draw 0, of everything that is studied: strategies with each target, then the cells."""
        return [
            *(
                of_strategy(self.base, name, self.options.get(name, {}), target)
                for name in self.strategies
                for target in (self.targets if STRATEGIES[name].takes_target and self.targets else (None,))
            ),
            *(of_cell(self.base, cell, f"cells[{number}]") for number, cell in enumerate(self.cells)),
        ]

    def as_file(self) -> StudyFile:
        """The study as its file holds it."""
        return StudyFile(
            strategies=tuple(self.strategies),
            options={name: dict(options) for name, options in self.options.items()},
            targets=tuple(self.targets),
            cells=tuple(map(dict, self.cells)),
            draws=self.draws,
            seeds=self.seeds,
            random_budgets=None if self.random_budgets is None else tuple(self.random_budgets),
            selection=settings_that_differ(self.base),
            training=settings_that_differ(self.recipe),
            prompts=None if self.prompts is None else str(self.prompts),
            max_new_tokens=self.max_new_tokens,
            by=self.by,
        )


def build_request(config: StudyConfig) -> StudyRequest:
    """Return the study that a command asks for; a `UsageError` for what does not go together."""
    if config.file is not None:
        rest = config.model_copy(update={name: StudyConfig.model_fields[name].default for name in _BESIDE_FILE})
        if more := " ".join(rest.as_command()[len(StudyConfig.command) :]):
            raise UsageError(f"{more} and --file are both given.", f"Leave it out, and set it in {config.file}.")
        return _request_of(read_study_file(config.file), config)
    base, recipe = base_and_recipe(config)
    options = parse_options([name for name in config.strategies if name in STRATEGIES], config.strategy_options)
    return StudyRequest(
        config.strategies, base, recipe, config.draws, config.seeds, config.random_budgets, options, config.out,
        config.prompts, config.max_new_tokens, config.wandb, None if config.by == NONE else config.by, config.target,
    )  # fmt: skip


def base_and_recipe(config: StudyConfig | ProxyConfig) -> tuple[SelectConfig, RunConfig]:
    """Return the selection, without its strategy and its target, and the training that a command line asks for."""
    chosen = {name: value for name in _OF_SELECTION if (value := getattr(config, name)) is not None}
    if {"k", "token_budget"} <= set(chosen):
        raise UsageError("--k and --token-budget are both given.", "Give one of them.")
    model = config.model
    preset = config.preset or preset_for(model or SelectConfig().model)
    recipe = load_config(preset, config.config, config.overrides, model)
    return SelectConfig(**{"coordinated": True, **chosen, "model": model or recipe.model}), recipe


def _request_of(study: StudyFile, config: StudyConfig) -> StudyRequest:
    for (part, name), instead in _VARIED_BY.items():
        if name in getattr(study, part):
            raise UsageError(f"{part} sets {name}, which a study varies.", instead)
    if {"k", "token_budget"} <= set(study.selection):
        raise UsageError("selection has both k and token_budget.", "Give one of them.")
    base = selection_of({"coordinated": True} | study.selection | {"target": None}, "selection")
    prompts = None if study.prompts is None else Path(study.prompts)
    if study.targets and study.selection.get("target") is not None:
        raise UsageError("Both targets and selection.target are given.", "Name all of them in targets.")
    targets = study.targets or tuple(filter(None, [study.selection.get("target")]))
    return StudyRequest(
        study.strategies, base, validated({"model": base.model} | study.training), study.draws, study.seeds,
        study.random_budgets, study.options, config.out, prompts, study.max_new_tokens, config.wandb, study.by,
        targets, study.cells,
    )  # fmt: skip
