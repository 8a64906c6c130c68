"""`finetune check --row N`: every token of a row as the run reads it, which carry loss, and where the row ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from curate.artifact import write_text
from curate.errors import UsageError
from curate.page import render_document
from curate.selection.record import Selection
from curate.tokens.prompt import start_ids
from curate.tokens.text_rule import text_rule
from finetune.batches.dataset import encode_rows
from finetune.batches.packing import IGNORED, build_packed_batch
from finetune.batches.token_loss import token_nll
from finetune.check.row_marks import legend, row_marks
from finetune.check.row_tokens import END, START, TEXT, RowToken, RowView
from finetune.config import RunConfig
from finetune.model import load_base_model
from finetune.run.job import pad_token
from finetune.run.tokenizer import load_training_tokenizer

PAGE = "index.html"
_PIECE = "\ufffd"


def view_row(config: RunConfig, selection: Selection, number: int, with_loss: bool = False) -> RowView:
    """Return the tokens of the row on line `number` of selected.jsonl, from the batch that training would build of it.

    `with_loss` loads the base model and adds what each token that carries loss costs it.
    """
    if not 1 <= number <= len(selection.selected):
        raise UsageError(f"--row is {number}.", f"Allowed: 1 to {len(selection.selected)}.")
    tokenizer = load_training_tokenizer(config.model, selection)
    measured = ReadRow(tokenizer, selection, number, pad_token(tokenizer, config), config.completion_only_loss)
    return measured.view(measured.losses(load_base_model(config)) if with_loss else None)


class ReadRow:
    """The row on line `number` of selected.jsonl, in the batch that training would build of it."""

    def __init__(self, tokenizer: Any, selection: Selection, number: int, pad: int, completion_only: bool) -> None:
        self.number, self.row = number, selection.selected[number - 1]
        self._tokenizer = tokenizer
        self._example = encode_rows(tokenizer, selection, [self.row])[0]
        self._batch = build_packed_batch([[self._example]], pad, completion_only)

    def losses(self, model: Any) -> list[float]:
        """Return the loss in nats of every token that carries loss, under `model` as it is."""
        with torch.inference_mode():
            nll, _ = token_nll(model, {name: value.to(model.device) for name, value in self._batch.items()})
        return [float(each) for each in nll]

    def view(self, losses: Sequence[float] | None = None) -> RowView:
        """Return the row's tokens, with `losses` at those that carry loss."""
        ids = self._example.input_ids
        trained = (self._batch["labels"][0] != IGNORED).tolist()
        by_place: list[float | None] = [None] * len(trained)
        if losses is not None:
            places = [place for place, carries in enumerate(trained) if carries]
            for place, loss in zip(places, losses, strict=True):
                by_place[place] = loss
        parts = zip(
            ids, token_texts(self._tokenizer, ids), _kinds(self._tokenizer, ids), trained, by_place, strict=True
        )
        tokens = [
            RowToken(id=id_, text=text, kind=kind, carries_loss=carries, loss=loss)
            for id_, text, kind, carries, loss in parts
        ]
        return RowView(number=self.number, row_id=self.row.row_id, tokens=tokens)


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
    context = {"view": view, "marks": row_marks(view), "legend": legend(), "name": name}
    write_text(out / PAGE, render_document("row.html", context, folders=[Path(__file__).parent]))
    return out / PAGE
