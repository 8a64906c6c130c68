"""Options of `evalsuite study`, and those whose value is a list with commas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from curate.errors import UsageError, did_you_mean
from evaluate_suite.defaults import NONE

StudyFileOption = Annotated[
    Path | None,
    typer.Option(help="study.yaml: the whole study. Only --out, --wandb, --dry-run, --json and the runner go with it."),
]
StrategyOption = Annotated[
    list[str] | None, typer.Option(help="NAME=VALUE for those of the strategies that take it; can be repeated.")
]
TrainingConfigOption = Annotated[
    Path | None, typer.Option(help="YAML file with training settings; it comes after the preset.")
]
RunnerOption = Annotated[str, typer.Option(help="Who makes the cells: local, or ray (several machines).")]
WorkersOption = Annotated[
    str,
    typer.Option(help="Cells at once on this machine, sharing its GPUs. auto: as many as fit on them."),
]
RayAddressOption = Annotated[
    str | None, typer.Option(help="auto or HOST:PORT of a Ray cluster. Default: one is started here.")
]
GpuShareOption = Annotated[
    float | None, typer.Option(help="With ray: what of a GPU a cell takes. Default: 1, or 0 where there is none.")
]
BudgetOption = Annotated[int | None, typer.Option(help="Tokens a selection instead: equal training for all.")]
BY_HELP = "Give the eval loss on the held-out rows of each value of this column, too: source, or one that travelled."
ByOption = Annotated[str, typer.Option(help=f"{BY_HELP} none: on all alone.")]
RandomBudgetsOption = Annotated[
    str | None,
    typer.Option(
        help="More sizes to draw random at, with commas, or none: for random-equivalents. "
        "Default: a quarter, half, twice and four times the size, as far as the pool reaches."
    ),
]


def parse_budgets(text: str | None) -> tuple[int, ...] | None:
    """Sizes of random selections; None where they are to be chosen."""
    if text is None:
        return None
    return () if text == NONE else tuple(parse_numbers(text, "--random-budgets"))


def parse_list(text: str | None) -> list[str]:
    """What stands between commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def parse_numbers(text: str | None, option: str) -> list[int]:
    """Whole numbers separated by commas."""
    if not all(number.isdecimal() for number in parse_list(text)):
        raise UsageError(f'{option} is "{text}".', "Write whole numbers with commas: 250,500,2000")
    return [int(number) for number in parse_list(text)]


def parse_names(text: str | None, allowed: Sequence[str], option: str) -> list[str]:
    """Names separated by commas; an unknown one is a usage error."""
    names = parse_list(text)
    for name in names:
        if name not in allowed:
            raise UsageError(f'{option} does not know "{name}".', did_you_mean(name, allowed))
    return names
