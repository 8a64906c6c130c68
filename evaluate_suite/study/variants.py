"""What the cells of a study differ in, draws and seeds apart: how the rows of a selection are picked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.artifact import digest_json
from curate.config import MADE_BEFORE, SelectConfig
from curate.defaults import DEFAULT_SCORE_MODEL
from curate.errors import UsageError, did_you_mean
from curate.strategies.table import STRATEGIES
from evaluate_suite.reporting.strategies import NARROWED, RANDOM

# What one cell may have otherwise than the next: nothing that moves a row into the holdout, or out of it.
OWN = (
    "strategy", "strategy_options", "target", *MADE_BEFORE, "score_model", "keep", "pick_where", "cap", "k",
    "token_budget", "min_tokens", "max_tokens", "near_duplicate", "decontaminate", "encoder", "embed", "clusters",
)  # fmt: skip


def of_strategy(base: SelectConfig, strategy: str, options: Mapping[str, Any], target: str | None) -> SelectConfig:
    """The selection by a strategy: what it has no use for is left out."""
    entry = STRATEGIES[strategy]
    return base.model_copy(
        update={
            "strategy": strategy,
            "strategy_options": dict(options),
            "target": target if entry.takes_target else None,
            **{name: getattr(base, name) if name in entry.needs else None for name in MADE_BEFORE},
            "score_model": base.score_model if "scores" in entry.needs else DEFAULT_SCORE_MODEL,
        }
    )


def of_cell(base: SelectConfig, cell: Mapping[str, Any], where: str) -> SelectConfig:
    """The selection that a cell of a study file describes; a `UsageError` that begins with `where` if it cannot be."""
    for name in cell:
        if name not in OWN:
            raise UsageError(
                f"{where} sets {name}.",
                f"It is the same for all cells: set it in selection. A cell may have its own {', '.join(OWN)}."
                if name in SelectConfig.model_fields
                else did_you_mean(name, OWN),
            )
    strategy = cell.get("strategy", RANDOM)
    if strategy not in STRATEGIES:
        raise UsageError(f'Unknown strategy "{strategy}" in {where}.', did_you_mean(strategy, STRATEGIES))
    if {"k", "token_budget"} <= set(cell):
        raise UsageError(f"{where} has both k and token_budget.", "Give one of them.")
    plain = of_strategy(base, strategy, {}, None).model_dump() | ({"token_budget": None} if "k" in cell else {})
    return selection_of(plain | dict(cell), where)


def selection_of(settings: Mapping[str, Any], where: str) -> SelectConfig:
    """The selection that settings of a study file describe; a `UsageError` that begins with `where` for a wrong one."""
    try:
        return SelectConfig(**settings)
    except UsageError as error:
        step = error.next_step or "The settings are the options of `curate select`."
        raise UsageError(f"{where}: {error.what}", step) from None


def is_random(config: SelectConfig) -> bool:
    """Whether rows are drawn uniformly among all candidates: the bar for all others."""
    return config.strategy == RANDOM and not any(getattr(config, name) for name in NARROWED)


def group_of(config: SelectConfig) -> str:
    """A digest of everything but the draw: selections with equal ones are draws of the same."""
    return digest_json(config.model_copy(update={"seed": 0}).as_record())


def label_of(config: SelectConfig) -> str:
    """How rows are picked and how many, in words: "target-words k1000 target=wanted.jsonl"."""
    size = f"k{config.k}" if config.token_budget is None else f"t{config.token_budget}"
    named = [(name, getattr(config, name)) for name in ("target", *MADE_BEFORE, "keep")]
    return " ".join(
        [
            config.strategy,
            size,
            *(f"{name}={value}" for name, value in config.strategy_options.items()),
            *(f"{name}={Path(value).name}" for name, value in named if value is not None),
            *config.pick_where,
            *(f"cap {cap}" for cap in config.cap),
        ]
    )
