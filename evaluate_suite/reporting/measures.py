"""What models are compared on: eval loss and every metric, each as a value by row or prompt with a direction."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from evaluate_suite.metrics import METRICS
from evaluate_suite.metrics.types import BOUNDS
from evaluate_suite.reporting.record import BASE
from evaluate_suite.reporting.work import Evaluation, Scored

EVAL_LOSS = "eval loss"


@dataclass(frozen=True)
class Measure:
    """`values` has every model's value by row or prompt, without the unscored ones of `n_items`.

    With `weights` (tokens by row) a model's figure is the sum of its values over that of the weights, else their mean;
    it cannot lie outside `bounds`.
    """

    name: str
    values: Mapping[str, Mapping[Hashable, float]]
    higher_is_better: bool
    n_items: int
    weights: Mapping[Hashable, float] | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)
    headline: bool = False

    @property
    def title(self) -> str:
        """The measure as pairs name it."""
        return self.name.replace("_", " ")


def loss_measure(evaluations: Sequence[Evaluation]) -> Measure:
    """Summed loss by held-out row of every run and, where all runs have the same, of the base model."""
    first = evaluations[0]
    values: dict[str, Mapping[Hashable, float]] = {}
    if first.base_losses and all(e.base_losses == first.base_losses for e in evaluations):
        values[BASE] = {row.row_id: row.nll for row in first.base_losses}
    values |= {e.name: {row.row_id: row.nll for row in e.tuned_losses} for e in evaluations}
    weights: dict[Hashable, float] = {row.row_id: float(row.tokens) for row in first.tuned_losses}
    return Measure(EVAL_LOSS, values, False, len(weights), weights, headline=True)


def metric_measures(scored: Scored | None, metrics: Sequence[str]) -> list[Measure]:
    """Each of `metrics` by prompt (or task), of every model that was scored."""
    if scored is None:
        return []
    return [
        Measure(
            name,
            {
                model: {
                    generation.prompt_id: score.value
                    for generation, score in zip(file.generations, file.scores[name], strict=True)
                    if score.value is not None
                }
                for model, file in zip(scored.names, scored.files, strict=True)
            },
            METRICS[name].better == "higher",
            len(scored.files[0].generations),
            bounds=BOUNDS[METRICS[name].kind],
            headline=METRICS[name].headline,
        )
        for name in metrics
    ]
