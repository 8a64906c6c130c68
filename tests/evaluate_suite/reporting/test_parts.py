"""The eval loss on parts of the holdout: exact on made losses, each source its own pairs, small parts left out."""

from __future__ import annotations

from curate.selection.record import SelectedRow
from evaluate_suite.reporting.eval_loss import RowEval
from evaluate_suite.reporting.measures import EVAL_LOSS, Measure
from evaluate_suite.reporting.parts import parts_of


def held_out(**sizes: int) -> list[SelectedRow]:
    return [
        SelectedRow(f"{source}{i}", "asked", "answer", source, 9, {"license": "mit" if i % 2 else ""})
        for source, n in sizes.items()
        for i in range(n)
    ]


def test_each_source_with_enough_rows_is_a_part_and_the_others_are_named() -> None:
    parts, notes = parts_of(held_out(a=12, b=30, c=9), "source")
    assert [(part.name, len(part.row_ids)) for part in parts] == [("eval loss on b", 30), ("eval loss on a", 12)]
    assert notes == [
        "No loss of its own is given for 1 values of source (c): fewer than 10 held-out rows, or not among the 12 "
        "largest."
    ]
    assert parts_of(held_out(a=40), "source") == ([], [])
    assert parts_of(held_out(a=40), None) == parts_of(held_out(a=40), "none") == ([], [])
    said = parts_of(held_out(a=40), "language")[1]
    assert said == ["No held-out row says its language, so there is no loss by language."]
    assert [part.value for part in parts_of(held_out(a=20, b=20), "license")[0]] == []


def test_a_part_measures_its_own_rows_alone() -> None:
    part = parts_of(held_out(a=12, b=30), "source")[0][1]
    losses = [RowEval(row.row_id, 2.0 if row.source == "a" else 5.0, 2) for row in held_out(a=12, b=30)]
    whole = Measure(
        EVAL_LOSS, {"run": {loss.row_id: loss.nll for loss in losses}}, False, 42,
        {loss.row_id: float(loss.tokens) for loss in losses}, headline=True,
    )  # fmt: skip
    measure = part.measure(whole)
    assert (measure.name, measure.n_items, measure.headline) == ("eval loss on a", 12, False)
    assert set(measure.values["run"].values()) == {2.0}
    assert sum(measure.values["run"].values()) / sum((measure.weights or {}).values()) == 1.0
    assert {loss.row_id for loss in part.of(losses)} == part.row_ids
