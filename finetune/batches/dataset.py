"""From a selection to the exact sequence of batches a run will see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import UserError
from curate.pool.dialogue import texts_of
from curate.selection.record import SelectedRow, Selection
from curate.tokens.tokenizers import EncodedExample, encode_examples
from finetune.batches.packing import pack_examples
from finetune.config import RunConfig


@dataclass(frozen=True)
class Plan:
    """Every batch of the run, in order: `bins[i]` lists indices of `examples`; `per_device_train_batch_size` bins make
    a batch, `gradient_accumulation_steps` batches a step. Fixed before training, so that a resumed run goes on with it.
    """

    examples: list[EncodedExample]
    bins: list[list[int]]
    max_steps: int

    @property
    def tokens(self) -> int:
        """Tokens of all bins, each as often as it is trained on."""
        return sum(len(self.examples[i].input_ids) for places in self.bins for i in places)


def encode_rows(tokenizer: Any, selection: Selection, rows: Sequence[SelectedRow]) -> list[EncodedExample]:
    """The rows as the selection's template and the tokenizer render them, nothing cut."""
    return encode_examples(tokenizer, selection.template, list(map(texts_of, rows)))


def refuse_other_counts(selection: Selection, examples: Sequence[EncodedExample]) -> None:
    """Raise a `UserError` if selected rows have other token counts than the selection says.

    With its own tokenizer that can be rows whose text spells a control token, which text rule 1 counted as that token.
    """
    pairs = zip(selection.selected, examples, strict=True)
    differ = sum(row.token_count != len(example.input_ids) for row, example in pairs)
    if differ:
        raise UserError(
            f"{differ} of {len(examples)} rows have other token counts than the selection {selection.path.name} says: "
            "it was made when control tokens spelled in a row's text became control tokens.",
            "Select again.",
        )


def join_and_cut(examples: Sequence[EncodedExample], length: int) -> list[EncodedExample]:
    """The notebook's packing, faults included: all rows in one stream, cut every `length` tokens, borders ignored."""
    stream = [token for example in examples for token in example.input_ids]
    return [EncodedExample(stream[i : i + length], 0) for i in range(0, len(stream) - length + 1, length)]


def build_plan(examples: list[EncodedExample], config: RunConfig) -> Plan:
    """Bins for every epoch, shuffled anew in each by the run's seed, up to `max_steps`."""
    if not examples:
        raise UserError("The selection holds no rows to train on.", "Select at least one row.")
    if config.packing == "joined":
        examples = join_and_cut(examples, config.max_length)
        if not examples:
            raise UserError(f"All rows together are shorter than {config.max_length} tokens.", "Lower max_length.")
    longest = max(len(example.input_ids) for example in examples)
    if longest > config.max_length:
        raise UserError(
            f"A row has {longest} tokens and max_length is {config.max_length}; rows are never cut.",
            f"Set max_length={longest} or more, or select with --max-tokens {config.max_length}.",
        )
    one_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    bins: list[list[int]] = []
    for epoch in range(config.num_train_epochs):
        bins += _epoch(examples, config, np.random.default_rng([config.seed, epoch]))
        if config.max_steps is not None and len(bins) >= config.max_steps * one_step:
            break
    steps = -(-len(bins) // one_step)
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
        bins = bins[: steps * one_step]
    return Plan(examples, bins, steps)


def _epoch(examples: Sequence[EncodedExample], config: RunConfig, rng: Any) -> list[list[int]]:
    lengths = [len(example.input_ids) for example in examples]
    order = rng.permutation(len(examples)).tolist()
    if config.packing == "best-fit":
        packed = pack_examples([lengths[i] for i in order], config.max_length)
        bins = [[order[place] for place in places] for places in packed]
        return [bins[i] for i in rng.permutation(len(bins)).tolist()]
    if config.group_by_length:
        # Batches of like lengths, in random order: shuffled, sorted by length, cut into batches, shuffled again.
        size = config.per_device_train_batch_size
        order.sort(key=lambda i: lengths[i])
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        order = [row for i in rng.permutation(len(batches)).tolist() for row in batches[i]]
    return [[i] for i in order]
