"""The eval loss on parts of the holdout: the held-out rows of each source, or of each value of another column."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from curate.selection.record import SelectedRow
from evaluate_suite.defaults import NONE
from evaluate_suite.reporting.eval_loss import RowEval
from evaluate_suite.reporting.measures import EVAL_LOSS, Measure
from evaluate_suite.reporting.record import MetricInfo
from evaluate_suite.reporting.work import Evaluation

SOURCE = "source"
LEAST_ROWS, MOST_PARTS = 10, 12  # rows of a part that is worth a figure of its own, and parts that a page shows


@dataclass(frozen=True)
class Part:
    """The held-out rows whose column has one value."""

    value: str
    row_ids: frozenset[str]

    @property
    def name(self) -> str:
        """What the loss on this part is called."""
        return f"{EVAL_LOSS} on {self.value}"

    @property
    def info(self) -> MetricInfo:
        """The part as a page's tables name it."""
        return MetricInfo(name=self.name, title=f"{self.name[:1].upper()}{self.name[1:]}", better="lower", share=False)

    def of(self, losses: Sequence[RowEval]) -> list[RowEval]:
        """Return those of the losses that are of its rows."""
        return [loss for loss in losses if loss.row_id in self.row_ids]

    def measure(self, whole: Measure) -> Measure:
        """Return the measure of the eval loss on these rows alone."""
        weights: dict[Hashable, float] = {row: n for row, n in (whole.weights or {}).items() if row in self.row_ids}
        values: dict[str, Mapping[Hashable, float]] = {
            model: {row: value for row, value in by_row.items() if row in self.row_ids}
            for model, by_row in whole.values.items()
        }
        return replace(whole, name=self.name, values=values, weights=weights, n_items=len(weights), headline=False)

    def evaluations(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """Return the runs as they are on these rows alone."""
        return [
            replace(e, base_losses=self.of(e.base_losses), tuned_losses=self.of(e.tuned_losses)) for e in evaluations
        ]


def parts_of(rows: Sequence[SelectedRow], column: str | None) -> tuple[list[Part], list[str]]:
    """Return the parts of the scored held-out rows by a column, largest first, and what a reader must know.

    One value alone is no part. `column` is `source` or one that travelled with the rows; None or "none": no parts.
    """
    if column in (None, NONE):
        return [], []
    by_value: dict[str, set[str]] = {}
    for row in rows:
        value = row.source if column == SOURCE else row.extra.get(column)
        if value:
            by_value.setdefault(str(value), set()).add(row.row_id)
    if not by_value:
        return [], [f"No held-out row says its {column}, so there is no loss by {column}."]
    if len(by_value) == 1:
        return [], []
    ordered = sorted(by_value.items(), key=lambda item: (-len(item[1]), item[0]))
    shown = [Part(value, frozenset(ids)) for value, ids in ordered[:MOST_PARTS] if len(ids) >= LEAST_ROWS]
    left_out = [value for value, ids in ordered if value not in {part.value for part in shown}]
    notes = []
    if left_out:
        names = ", ".join(left_out[:MOST_PARTS]) + (" and others" if len(left_out) > MOST_PARTS else "")
        notes.append(
            f"No loss of its own is given for {len(left_out)} values of {column} ({names}): fewer than {LEAST_ROWS} "
            f"held-out rows, or not among the {MOST_PARTS} largest."
        )
    return shown, notes
