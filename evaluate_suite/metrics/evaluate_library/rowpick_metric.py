"""One module for the `evaluate` library that is any of our metrics, named by `config_name`. Works offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate

from evaluate_suite.generation.record import Generation
from evaluate_suite.metrics import METRICS, OLD_NAMES, ExecutionOutcome, MetricContext, apply, summarise
from evaluate_suite.metrics.training_corpus import TrainingCorpus

DEFAULT_METRIC = "well_formed_answer"
_DESCRIPTION = "Rowpick's metrics of generated code, one per config_name: "
_INPUTS = """
predictions: list of texts. references: list of texts (chrf alone).
prompts, languages, stop_reasons: lists as long as predictions, optional.
training_rows: list of training outputs (memorisation).
outcomes: list of dicts with passed, passed_when_cut, runs, reason (the metrics of executed code).
"""


class RowpickMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric of ours in the shape `evaluate` knows."""

    config_name: str

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name == "default":
            self.config_name = DEFAULT_METRIC
        self.config_name = OLD_NAMES.get(self.config_name, self.config_name)
        if self.config_name not in METRICS:
            raise ValueError(f'Unknown metric "{self.config_name}". Allowed: {", ".join(sorted(METRICS))}.')
        inputs = ["predictions"] + ["references"] * (METRICS[self.config_name].needs == "reference")
        return evaluate.MetricInfo(
            description=_DESCRIPTION + ", ".join(sorted(METRICS)),
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(dict.fromkeys(inputs, datasets.Value("string"))),
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str] | None = None,
        *,
        prompts: Sequence[str] | None = None,
        languages: Sequence[str | None] | None = None,
        stop_reasons: Sequence[str | None] | None = None,
        training_rows: Sequence[str] | None = None,
        outcomes: Sequence[Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """{metric name: mean or None, interval, n_scored, n_unscored, scores, reasons}; one a prediction."""
        count = len(predictions)
        columns: list[Sequence[Any]] = []
        for name, column in (
            ("references", references),
            ("prompts", prompts),
            ("languages", languages),
            ("stop_reasons", stop_reasons),
            ("outcomes", outcomes),
        ):
            if column is not None and len(column) != count:
                raise ValueError(f"{name} has {len(column)} items, predictions {count}.")
            columns.append(column if column is not None else [None] * count)
        corpus = None
        if training_rows is not None:
            corpus = TrainingCorpus((str(place), row) for place, row in enumerate(training_rows))
        scores = []
        for place, (text, reference, prompt, language, stop, outcome) in enumerate(
            zip(predictions, *columns, strict=True)
        ):
            generation = Generation(
                str(place), prompt or "", text, stop_reason=stop, language=language, reference=reference
            )
            known = {} if outcome is None else {(str(place), 0): ExecutionOutcome(**outcome)}
            scores.append(apply(METRICS[self.config_name], generation, MetricContext(corpus, known)))
        summary = summarise(METRICS[self.config_name], scores).as_dict()
        return {
            self.config_name: summary["mean"],
            **{name: summary[name] for name in ("interval", "n_scored", "n_unscored")},
            "scores": [score.value for score in scores],
            "reasons": [score.reason for score in scores],
        }
