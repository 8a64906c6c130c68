"""The settings of the `evalsuite` commands, with every default in its one home."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from curate.command_line import CommandConfig, Joined, Named, Words
from evaluate_suite.defaults import APART, DRAWS, MIN_CORRELATION, PROXY_DRAWS, SEEDS


class ReportConfig(CommandConfig):
    """What a report is on: runs by name or path (none: every finished run), the prompts, the tasks to execute."""

    command = ("evalsuite", "report")

    runs: Annotated[tuple[str, ...], Words()] = ()
    prompts: Path | None = None
    max_new_tokens: int | None = None
    tasks: Path | None = None
    execute: bool = False
    engine: str = "auto"
    backend: str = "auto"
    by: str | None = None


class ExecuteConfig(CommandConfig):
    """What is run: the generations, or with `reference` the tasks' own solutions, against the tests of the tasks.

    With `cut_at_function` a completion ends where the wanted function and what it needs end.
    """

    command = ("evalsuite", "execute")

    tasks: Path
    generations: Path | None = None
    out: Path | None = None
    execute: bool = False
    style: str | None = None
    cut_at_function: bool = False
    reference: bool = False
    cpu_seconds: float | None = None
    workers: int | None = None
    judge: str = "apart"
    backend: str = "auto"
    unsafe_local: bool = False


class CellsConfig(CommandConfig):
    """What commands that select and train many times have in common: one selection, one training, who does the work.

    None stands for what `curate select` and `finetune run` take where nothing is said.
    """

    dataset: str | None = None
    model: str | None = None
    encoder: str | None = None
    k: int | None = None
    token_budget: int | None = None
    max_tokens: int | None = None
    holdout: int | None = None
    near_duplicate: float | None = None
    preset: str | None = None
    config: Path | None = None
    runner: str = "local"
    workers: str = "auto"
    ray_address: str | None = None
    gpu_share: float | None = None
    out: Path | None = None
    dry_run: bool = False
    as_json: Annotated[bool, Named("--json")] = False
    overrides: Annotated[tuple[str, ...], Words()] = ()


class StudyConfig(CellsConfig):
    """What is studied: a `file`, or strategies with what `curate select` and `finetune run` are told beside them."""

    command = ("evalsuite", "study")

    file: Path | None = None
    strategies: Annotated[tuple[str, ...], Joined()] = ("random", "kmeans")
    strategy_options: Annotated[tuple[str, ...], Named("--strategy-option")] = ()
    target: tuple[str, ...] = ()
    draws: int = DRAWS
    seeds: int = SEEDS
    random_budgets: Annotated[tuple[int, ...] | None, Joined()] = None
    prompts: Path | None = None
    max_new_tokens: int | None = None
    by: str = "source"
    wandb: str = "off"


class ProxyConfig(CellsConfig):
    """What the commands that train proxy runs have in common: what the runs are judged by, and which ones they are."""

    target: str | None = None
    apart: int = APART
    seed: int = 0


class MixtureConfig(ProxyConfig):
    """`evalsuite mixture`: by what rows are drawn, how many proxy runs, how varied, and what their law is fitted to.

    None stands for what `by` has, `clusters` is of strata alone.
    """

    command = ("evalsuite", "mixture")

    by: str = "features"
    proxies: int | None = None
    clusters: int | None = None
    spread: float | None = None
    aim: str = "rows"
    min_correlation: float = MIN_CORRELATION


class BestOfDrawsConfig(ProxyConfig):
    """`evalsuite best-of-draws`: how many draws of which strategy."""

    command = ("evalsuite", "best-of-draws")

    draws: int = PROXY_DRAWS
    strategy: str = "random"
    strategy_options: Annotated[tuple[str, ...], Named("--strategy-option")] = ()
