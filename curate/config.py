"""The settings of `curate select` and `curate compare`, with every default in its one home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from curate.cleaning.table import CHECKS, DEFAULT_CHECKS, parse_checks
from curate.command_line import CommandConfig, Joined, Named
from curate.defaults import (
    BENCHMARK_PACKAGES,
    DEFAULT_SCORE_MODEL,
    DEFAULT_STRATEGY,
    EMBED_CHOICES,
    TFIDF,
    SelectDefaults,
)
from curate.errors import UsageError, UserError, did_you_mean, missing_file
from curate.pool.read_options import ReadOptions, columns_named, is_remote, parse_caps, parse_conditions
from curate.strategies.table import STRATEGIES

# What strategies need that another command makes before: what that is, and the command. Their options have these names.
MADE_BEFORE = {
    "influence": ("influence, and there are no scores", "finetune influence"),
    "mixture": ("weights or shares from proxy runs, and there are none", "evalsuite mixture"),
    "draws": ("draws that were trained, and there are none", "evalsuite best-of-draws"),
}


# A text, from a file of settings, is what the option takes: one value, or for --clean names with commas, all or none.
_Repeated = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
_Checks = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: parse_checks(value) if isinstance(value, str) else value), Joined()
]


class SelectConfig(CommandConfig):
    """One selection, fully described. Equal configs on equal inputs give equal bytes."""

    command = ("curate", "select")
    always = frozenset({"dataset", "k"})

    dataset: str = SelectDefaults.dataset
    model: str = SelectDefaults.model
    tokenizer: str | None = None
    prompt_template: str | None = None
    columns: str | None = None
    subset: str | None = None
    split: str | None = None
    first: int | None = None
    system: str = SelectDefaults.system
    turns: str = SelectDefaults.turns
    keep_where: _Repeated = ()
    strategy: str = SelectDefaults.strategy
    strategy_options: Annotated[dict[str, Any], Named("--strategy-option")] = Field(default_factory=dict)
    keep: str | None = None
    pick_where: _Repeated = ()
    cap: _Repeated = ()
    target: str | None = None
    influence: str | None = None
    mixture: str | None = None
    draws: str | None = None
    score_model: str = SelectDefaults.score_model
    encoder: str = SelectDefaults.encoder
    vectors: str | None = None
    embed: str = SelectDefaults.embed
    batch_size: int = SelectDefaults.batch_size
    k: int = SelectDefaults.k
    token_budget: int | None = None
    min_tokens: int = SelectDefaults.min_tokens
    max_tokens: int = SelectDefaults.max_tokens
    holdout: int = SelectDefaults.holdout
    near_duplicate: float = SelectDefaults.near_duplicate
    clean: _Checks = DEFAULT_CHECKS
    decontaminate: _Repeated = ()
    clusters: int | None = None
    coordinated: bool = SelectDefaults.coordinated
    seed: int = SelectDefaults.seed

    def check(self) -> None:
        """Raise a `UsageError` for a value that is wrong whatever the pool holds."""
        if self.strategy not in STRATEGIES:
            raise UsageError(f'Unknown strategy "{self.strategy}".', did_you_mean(self.strategy, STRATEGIES))
        if self.embed not in EMBED_CHOICES:
            raise UsageError(f'Unknown --embed "{self.embed}".', did_you_mean(self.embed, EMBED_CHOICES))
        self.read_options().check()
        parse_conditions(self.pick_where, "--pick-where")
        parse_caps(self.cap)
        for check in self.clean:
            if check not in CHECKS:
                raise UsageError(f'Unknown check "{check}" in --clean.', did_you_mean(check, CHECKS))
        for name, value, least in (
            ("k", self.k, 1),
            ("min-tokens", self.min_tokens, 1),
            ("max-tokens", self.max_tokens, 1),
            ("holdout", self.holdout, 0),
            ("batch-size", self.batch_size, 1),
            ("seed", self.seed, 0),
            ("token-budget", 1 if self.token_budget is None else self.token_budget, 1),
            ("clusters", 1 if self.clusters is None else self.clusters, 1),
        ):
            if value < least:
                raise UsageError(f"--{name} is {value}; it must be at least {least}.", "")
        if self.min_tokens > self.max_tokens:
            raise UsageError(
                f"--min-tokens {self.min_tokens} is above --max-tokens {self.max_tokens}.", "Swap or widen the bounds."
            )
        if not 0 < self.near_duplicate <= 1:
            raise UsageError(
                f"--near-duplicate is {self.near_duplicate}; allowed: above 0, up to 1.", "1 keeps all but equals."
            )

    def check_needs(self) -> None:
        """Raise a `UsageError` where the strategy needs what is not given, or has no use for what is."""
        entry = STRATEGIES[self.strategy]
        needs = entry.needs
        self.check_given()
        if "target" in needs and self.encoder == TFIDF:
            raise UsageError(
                f"Strategy {self.strategy} cannot use --encoder tfidf: it is fitted on the pool alone.",
                "Use --encoder static or minilm.",
            )
        if "target" in needs and self.vectors is not None:
            raise UsageError(
                f"Strategy {self.strategy} cannot use --vectors: the target's rows have none in their space.",
                "Leave it out: the encoder makes both.",
            )
        if not entry.takes_target and self.target is not None:
            raise UsageError(
                f"Strategy {self.strategy} takes no --target.", "Leave it out, or use --strategy target-words."
            )
        for name in set(MADE_BEFORE) - needs:
            if getattr(self, name) is not None:
                raise UsageError(f"Strategy {self.strategy} takes no --{name}.", "Leave it out.")
        if "scores" not in needs and self.score_model != DEFAULT_SCORE_MODEL:
            raise UsageError(f"Strategy {self.strategy} takes no --score-model: it needs no scores.", "Leave it out.")

    def check_given(self) -> None:
        """Raise a `UsageError` where the target, or what another command makes for the strategy, is not named."""
        if STRATEGIES[self.strategy].takes_target and self.target is None:
            raise UsageError(
                f"Strategy {self.strategy} picks near a target set, and there is none.",
                "Name a file of rows: --target FILE",
            )
        for name, (what, command) in MADE_BEFORE.items():
            if name in STRATEGIES[self.strategy].needs and getattr(self, name) is None:
                raise UsageError(
                    f"Strategy {self.strategy} picks by {what}.",
                    f"Make them with `{command}`, then name them: --{name} NAME",
                )

    def read_options(self) -> ReadOptions:
        """How the records of the dataset become rows."""
        travel = columns_named(self.pick_where, self.cap)
        return ReadOptions(self.keep_where, self.system, self.subset, self.split, self.first, self.turns, travel)

    def as_record(self) -> dict[str, Any]:
        """Return the config as the manifest records it; local paths keep the name the user gave."""
        return self.model_dump()


class CompareConfig(CommandConfig):
    """One comparison: the strategies, each with its options, and the pool and size they share."""

    command = ("curate", "compare")
    always = frozenset({"strategies"})

    strategies: Annotated[tuple[str, ...], Joined()]
    options: Annotated[dict[str, Any], Named("--strategy-option")] = Field(default_factory=dict)
    pool: SelectConfig = SelectConfig()

    def as_command(self) -> list[str]:
        """Return the command line that makes this comparison."""
        own = [*self.command, "--strategies", ",".join(self.strategies)]
        shared = self.pool.model_copy(update={"strategy": DEFAULT_STRATEGY, "strategy_options": self.options})
        return own + shared.as_command()[2:]


def inputs_exist(config: SelectConfig) -> None:
    """Fail before any work when a file the config names is absent, or is a folder; addresses are not asked."""
    templates = () if config.prompt_template in (None, "chat") else (str(config.prompt_template),)
    vectors = () if config.vectors is None else (config.vectors,)
    named = (("prompt-template", templates), ("decontaminate", config.decontaminate), ("vectors", vectors))
    for option, paths in named:
        for path in paths:
            if is_remote(path) and option == "decontaminate":
                continue
            if Path(path).is_dir():
                raise UserError(f"The file {path} of --{option} is a folder.", "Name a file.")
            if not Path(path).is_file() and path.lower() not in BENCHMARK_PACKAGES:
                raise missing_file(path, f" of --{option}")
