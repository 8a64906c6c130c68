"""What every statistic here returns: one estimate, and one pair of models or strategies."""

from __future__ import annotations

from dataclasses import dataclass

MODELS = "models"  # the scope of pairs of single models; strategies have the scopes of `levels.SCOPES`


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval over `n` items; `unscored` items have no value. None has its `reason`."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unscored: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class PairedDifference:
    """`second` minus `first` on one measure, over the `n` items both have; `p` is two-sided.

    `scope` is what the pair is about: models, runs, selections or strategies. `n_units` is how many independent
    `unit`s (rows, prompts, tasks, draws or seeds) the interval and p stand on; where
    the draws of both shared their random numbers they were compared one by one, and `unpaired` is the same pair without
    that. `bootstrap_low` and `bootstrap_high` are a second
    interval, which assumes no shape. `smallest_detectable` is the effect that the data would have shown with 80% power.
    Over the pairs of a measure, `p_holm` is corrected for any false winner and `p_fdr` for the false discovery rate;
    `winner` is None unless a difference is shown after Holm's correction.
    """

    first: str
    second: str
    measure: str
    scope: str = MODELS
    n: int = 0
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_fdr: float | None = None
    smallest_detectable: float | None = None
    winner: str | None = None
    reason: str | None = None
    unit: str = "rows"
    n_units: int = 0
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    unpaired: PairedDifference | None = None
