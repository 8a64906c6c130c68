"""What a study is asked for: strategies or whole cells, and what of their selections and trainings is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curate.config import MADE_BEFORE, SelectConfig
from curate.defaults import DEFAULT_SCORE_MODEL
from curate.errors import UsageError
from curate.strategies.table import STRATEGIES, parse_options
from evaluate_suite.config import ProxyConfig, StudyConfig
from evaluate_suite.defaults import DRAWS, NONE, SEEDS
from evaluate_suite.study.plan_file import StudyFile, read_study_file, settings_that_differ
from finetune.config import RunConfig, load_config, preset_for, validated

RANDOM = "random"
# What a study hands on to `curate select`.
_OF_SELECTION = (
    "dataset", "target", "model", "encoder", "k", "token_budget", "max_tokens", "holdout", "near_duplicate",
)  # fmt: skip


@dataclass(frozen=True)
class StudyRequest:
    """What to study. `base` holds everything of a selection but strategy and seed; `random_budgets` are further sizes
    (rows, or tokens where `base` has a token budget) at which random is drawn too, for the random-equivalents; None: to
    be chosen (`with_random_budgets`). `by` is the column whose values' losses the report gives apart."""

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

    def check(self) -> None:
        """Raise a `UsageError` for what is wrong in itself."""
        for name in self.strategies:
            self.base.model_copy(update={"strategy": name}).check()
            self.cell(name, 0).check_needs()
        for name in set(self.options) - set(self.strategies):
            raise UsageError(f"Options are given for {name}, which is not studied.", "Name it in strategies, too.")
        if len(set(self.strategies)) < len(self.strategies):
            raise UsageError(f"A strategy is named twice ({', '.join(self.strategies)}).", "Name each once.")
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

    def cell(self, strategy: str, draw: int) -> SelectConfig:
        """The selection of one draw of a strategy: what the strategy has no use for is left out."""
        entry = STRATEGIES[strategy]
        needs = entry.needs
        return self.base.model_copy(
            update={
                "strategy": strategy,
                "strategy_options": dict(self.options.get(strategy, {})),
                "seed": draw,
                "target": self.base.target if entry.takes_target else None,
                **{name: getattr(self.base, name) if name in needs else None for name in MADE_BEFORE},
                "score_model": self.base.score_model if "scores" in needs else DEFAULT_SCORE_MODEL,
            }
        )

    def as_file(self) -> StudyFile:
        """The study as its file holds it."""
        return StudyFile(
            strategies=tuple(self.strategies),
            options={name: dict(options) for name, options in self.options.items()},
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
        return _request_of(read_study_file(config.file), config)
    base, recipe = base_and_recipe(config)
    options = parse_options([name for name in config.strategies if name in STRATEGIES], config.strategy_options)
    return StudyRequest(
        config.strategies, base, recipe, config.draws, config.seeds, config.random_budgets, options, config.out,
        config.prompts, config.max_new_tokens, config.wandb, None if config.by == NONE else config.by,
    )  # fmt: skip


def base_and_recipe(config: StudyConfig | ProxyConfig) -> tuple[SelectConfig, RunConfig]:
    """Return the selection, without its strategy, and the training that a command line asks for."""
    chosen = {name: value for name in _OF_SELECTION if (value := getattr(config, name)) is not None}
    if {"k", "token_budget"} <= set(chosen):
        raise UsageError("--k and --token-budget are both given.", "Give one of them.")
    model = config.model
    preset = config.preset or preset_for(model or SelectConfig().model)
    recipe = load_config(preset, config.config, config.overrides, model)
    return SelectConfig(**{"coordinated": True, **chosen, "model": model or recipe.model}), recipe


def _request_of(study: StudyFile, config: StudyConfig) -> StudyRequest:
    try:
        base = SelectConfig.model_validate({"coordinated": True} | study.selection)
    except ValueError as error:
        raise UsageError(
            f"selection is wrong: {' '.join(str(error).split())}.", "Its fields are those of curate select."
        ) from None
    prompts = None if study.prompts is None else Path(study.prompts)
    return StudyRequest(
        study.strategies, base, validated({"model": base.model} | study.training), study.draws, study.seeds,
        study.random_budgets, study.options, config.out, prompts, study.max_new_tokens, config.wandb, study.by,
    )  # fmt: skip
