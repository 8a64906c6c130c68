"""What was measured of one row: its tokens, which carry loss, and what the base model makes of them."""

from __future__ import annotations

from curate.artifact import RecordPart

START, END, TEXT = "start token", "end token", "text"


class RowToken(RecordPart):
    """One token: its text (what it adds to the row's), whether it carries loss, and the base model's loss in nats."""

    id: int
    text: str
    kind: str
    carries_loss: bool
    loss: float | None = None


class RowView(RecordPart):
    """A selected row's tokens; `number` counts from 1, as lines of selected.jsonl do."""

    number: int
    row_id: str
    tokens: list[RowToken]

    @property
    def summary(self) -> str:
        """One sentence: how many tokens, how many carry loss, whether the end is among them."""
        trained = sum(token.carries_loss for token in self.tokens)
        last = self.tokens[-1]
        ending = "which is the end token" if last.kind == END else "which is NOT the end token"
        learnt = "carries loss" if last.carries_loss else "carries NO loss"
        measured = [token.loss for token in self.tokens if token.loss is not None]
        mean = f" The base model's mean loss on them is {sum(measured) / len(measured):.3f}." if measured else ""
        return (
            f"Row {self.number} has {len(self.tokens)} tokens; {trained} carry loss. The last one, {ending}, {learnt}."
            f"{mean}"
        )
