"""One row of each selection, token by token, as its run read it: chosen here, measured by the models."""

from __future__ import annotations

from curate.selection.record import Selection
from evaluate_suite.reporting.record import ShownRow
from evaluate_suite.reporting.work import Work

SELECTIONS = 3  # of which a row is shown; `finetune check --row` shows any other
TOKENS = 120  # the row nearest to so many is shown: long enough to see its parts, short enough for a page


def number_of_shown_row(selection: Selection) -> int:
    """Return the line of selected.jsonl, from 1, of the row to show."""
    rows = selection.selected
    return min(range(len(rows)), key=lambda place: (abs(rows[place].token_count - TOKENS), rows[place].row_id)) + 1


def show_rows(work: Work) -> list[ShownRow]:
    """Return a row of each of the first selections, with the base model's losses."""
    shown: dict[str, ShownRow] = {}
    for evaluation in work.evaluations:
        run, selection = evaluation.run, evaluation.selection
        if selection.digest not in shown and len(shown) < SELECTIONS and selection.selected:
            view = work.models.row_view(run, selection, number_of_shown_row(selection))
            shown[selection.digest] = ShownRow(selection=selection.path.name, view=view)
    return list(shown.values())
