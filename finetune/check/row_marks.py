"""How a row's tokens are shown, in the terminal and on a page: both are made of the same marks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from rich.style import Style
from rich.text import Text

from curate.page import visible_text
from finetune.check.row_tokens import TEXT, RowToken, RowView

# The base model's loss in nats above which a token has the next darker shade; what carries loss has the first at least.
BOUNDS = (0.5, 1.0, 2.0, 4.0)
SHADES = ("#fbeee0", "#f7dcc0", "#f2c79c", "#ecb078", "#e59a55")  # of the terminal; a page has its own, by theme
LONGEST = 400  # characters of one token that are shown


@dataclass(frozen=True)
class Mark:
    """One token as it is shown. `level` is its shade, 1 to 5; 0 where no loss is known or none is carried."""

    text: str
    note: str
    carries_loss: bool
    level: int
    place: int
    id: int
    loss: float | None


def row_marks(view: RowView) -> list[Mark]:
    """Return the marks of a row; line breaks and invisible characters are made visible."""
    return [
        Mark(
            visible_text(token.text, LONGEST).replace("\n", "↵\n"), "" if token.kind == TEXT else token.kind,
            token.carries_loss, _level(token), place, token.id, token.loss,
        )
        for place, token in enumerate(view.tokens)
    ]  # fmt: skip


def _level(token: RowToken) -> int:
    return 0 if token.loss is None else 1 + sum(token.loss >= bound for bound in BOUNDS)


def legend() -> list[tuple[int, str]]:
    """Return (level, the losses it stands for), lightest first."""
    between = [f"{low:g} to {high:g}" for low, high in pairwise(BOUNDS)]
    return list(enumerate([f"below {BOUNDS[0]:g}", *between, f"{BOUNDS[-1]:g} and more"], start=1))


def as_terminal_text(view: RowView) -> Text:
    """Return the row as running text: underlined what carries loss, darker what the base model expects less."""
    text = Text()
    for mark in row_marks(view):
        shade = {"color": "black", "bgcolor": SHADES[mark.level - 1]} if mark.level else {"dim": not mark.carries_loss}
        text.append(mark.text, Style(underline=mark.carries_loss, **shade))
        text.append(f" ({mark.note}) " if mark.note else "", "italic")
    if any(token.loss is not None for token in view.tokens):
        text.append("\n\nloss of the base model in nats: ")
        for level, losses in legend():
            text.append(f" {losses} ", Style(color="black", bgcolor=SHADES[level - 1]))
    return text


def as_lines(view: RowView) -> list[str]:
    """Return a line a token: place, id, whether it carries loss, the base model's loss, its text as Python has it."""
    return [
        f"{place:>5} {token.id:>7} {'loss' if token.carries_loss else '   -'} "
        f"{'' if token.loss is None else f'{token.loss:.3f}':>7} {token.text!r}"
        f"{'' if token.kind == TEXT else f'  {token.kind}'}"
        for place, token in enumerate(view.tokens)
    ]
