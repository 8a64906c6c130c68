"""`finetune check --row N`: every token of a row as the run reads it, which carry loss, and where the row ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from curate.artifact import write_text
from curate.errors import UsageError
from curate.page import render_document
from curate.selection.record import SelectedRow, Selection
from curate.tokens.prompt import start_ids
from curate.tokens.text_rule import text_rule
from finetune.batches.dataset import encode_rows
from finetune.batches.packing import IGNORED, build_packed_batch
from finetune.batches.token_loss import token_nll
from finetune.config import RunConfig
from finetune.model import load_base_model
from finetune.run.job import pad_token
from finetune.run.tokenizer import load_training_tokenizer

START, END, TEXT = "start token", "end token", "text"
PAGE = "index.html"
_PIECE = "\ufffd"
_DARKEST = 8.0  # nats: what is as unlikely as this, or more, has the darkest shade of the page


@dataclass(frozen=True)
class RowToken:
    """One token: its text (what it adds to the row's), whether it carries loss, and the base model's loss in nats."""

    id: int
    text: str
    kind: str
    carries_loss: bool
    loss: float | None = None

    @property
    def shade(self) -> int:
        """How dark the page shows it, in percent."""
        return 0 if self.loss is None else round(100 * min(self.loss, _DARKEST) / _DARKEST)


@dataclass(frozen=True)
class RowView:
    """A selected row's tokens; `number` counts from 1, as lines of selected.jsonl do."""

    number: int
    row: SelectedRow
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

    def lines(self) -> list[str]:
        """A line a token: place, id, whether it carries loss, the base model's loss, and its text as Python has it."""
        return [
            f"{place:>5} {token.id:>7} {'loss' if token.carries_loss else '   -'} "
            f"{'' if token.loss is None else f'{token.loss:.3f}':>7} {token.text!r}"
            f"{'' if token.kind == TEXT else f'  {token.kind}'}"
            for place, token in enumerate(self.tokens)
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"number": self.number, "row_id": self.row.row_id, "tokens": [asdict(token) for token in self.tokens]}


def view_row(config: RunConfig, selection: Selection, number: int, with_loss: bool = False) -> RowView:
    """Return the tokens of the row on line `number` of selected.jsonl, from the batch that training would build of it.

    `with_loss` loads the base model and adds what each token that carries loss costs it.
    """
    if not 1 <= number <= len(selection.selected):
        raise UsageError(f"--row is {number}.", f"Allowed: 1 to {len(selection.selected)}.")
    row = selection.selected[number - 1]
    tokenizer = load_training_tokenizer(config.model, selection)
    example = encode_rows(tokenizer, selection, [row])[0]
    batch = build_packed_batch([[example]], pad_token(tokenizer, config), config.completion_only_loss)
    trained = (batch["labels"][0] != IGNORED).tolist()
    losses: list[float | None] = [None] * len(trained)
    if with_loss:
        places = [place for place, carries in enumerate(trained) if carries]
        for place, loss in zip(places, _losses(config, batch), strict=True):
            losses[place] = loss
    kinds = _kinds(tokenizer, example.input_ids)
    texts = token_texts(tokenizer, example.input_ids)
    parts = zip(example.input_ids, texts, kinds, trained, losses, strict=True)
    return RowView(number, row, [RowToken(*part) for part in parts])


def _losses(config: RunConfig, batch: dict[str, torch.Tensor]) -> list[float]:
    model = load_base_model(config)
    with torch.inference_mode():
        nll, _ = token_nll(model, {name: value.to(model.device) for name, value in batch.items()})
    return [float(each) for each in nll]


def _kinds(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    kinds = [TEXT] * len(ids)
    if list(ids[:1]) == start_ids(tokenizer)[:1] and start_ids(tokenizer):
        kinds[0] = START
    if ids[-1] == tokenizer.eos_token_id:
        kinds[-1] = END
    return kinds


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return what each id adds to the text of those before it.

    A control token shows its name. Of a character in several tokens the last one shows it, the others their own names.
    """
    rule = text_rule(tokenizer)
    names = tokenizer.convert_ids_to_tokens(list(ids))
    texts, before = [], ""
    for place, name in enumerate(names):
        whole = rule.decode(ids[: place + 1])
        added = whole[len(before) :] if whole.startswith(before) and not whole.endswith(_PIECE) else ""
        texts.append(added or name)
        before = whole if added else before
    return texts


def write_row_page(view: RowView, out: Path, name: str) -> Path:
    """Write the row as a page that needs no network; tokens with loss are shaded by the base model's loss."""
    page = render_document("row.html", {"view": view, "name": name}, folders=[Path(__file__).parent])
    write_text(out / PAGE, page)
    return out / PAGE
