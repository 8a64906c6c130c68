"""Next-token losses at the labelled positions: one function behind training, in-run evaluation and the report."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import IGNORED, build_packed_batch, pack_examples
from finetune.parallel.processes import ALONE, Processes

EVAL_BIN_TOKENS = 1024


@dataclass(frozen=True)
class RowLoss:
    """Summed negative log-likelihood (nats) of one row's output and end token, and how many tokens that is."""

    nll: float
    tokens: int


def token_nll(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(nll, samples): float32 loss of every labelled token, and the sample it belongs to; both (n targets,).

    The vocabulary product, which is most of a small model's work, is done for labelled positions only where the model
    can be told to (`logits_to_keep`) and the batch is one bin.
    """
    labels = batch["labels"][:, 1:]
    wanted = labels != IGNORED
    inputs = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"], "use_cache": False}
    if batch.get("attention_mask") is not None:
        inputs["attention_mask"] = batch["attention_mask"]
    samples = batch["sample_ids"][:, 1:][wanted]
    if getattr(_inner(model), "accepts_nll_labels", False):
        return model(**inputs, nll_labels=batch["labels"]), samples
    if len(labels) == 1 and _can_keep_logits(model):
        logits = model(**inputs, logits_to_keep=wanted[0].nonzero()[:, 0]).logits[0]
    else:
        logits = model(**inputs).logits[:, :-1][wanted]
    targets = labels[wanted]
    return F.cross_entropy(logits.float(), targets, reduction="none"), samples


def _inner(model: Any) -> Any:
    model = getattr(model, "module", model)  # what DistributedDataParallel wraps
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _can_keep_logits(model: Any) -> bool:
    return "logits_to_keep" in inspect.signature(_inner(model).forward).parameters


def row_losses(
    model: Any,
    examples: Sequence[EncodedExample],
    pad_token_id: int,
    advance: Callable[[int], None] = lambda n: None,
    bin_tokens: int = EVAL_BIN_TOKENS,
    processes: Processes = ALONE,
) -> list[RowLoss]:
    """The loss of every example on its own output, in order. The model's training mode is put back afterwards.

    Rows are packed without seeing each other, as in training, one bin a forward pass; several processes share the bins,
    and all do equally many passes, the first bin again where there is none left: sharded weights are gathered by all.
    """
    lengths = [len(example.input_ids) for example in examples]
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    losses: list[RowLoss | None] = [None] * len(examples)
    try:
        bins = pack_examples(lengths, max([bin_tokens, *lengths]))
        bins += bins[:1] * (-len(bins) % processes.size)
        for rows in bins[processes.rank :: processes.size]:
            batch = build_packed_batch([[examples[i] for i in rows]], pad_token_id)
            with torch.no_grad():  # inference mode would leave tensors behind that FSDP2 cannot train with
                nll, samples = token_nll(model, {name: value.to(device) for name, value in batch.items()})
            sums = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, samples.cpu(), nll.double().cpu())
            counts = torch.bincount(samples.cpu(), minlength=len(rows))
            for place, row in enumerate(rows):
                losses[row] = RowLoss(float(sums[place]), int(counts[place]))
            advance(len(rows))
    finally:
        model.train(was_training)
    return [loss for loss in processes.join(losses) if loss is not None]


def mean_loss(losses: Sequence[RowLoss]) -> float | None:
    """Mean loss per token over rows, weighted by their tokens; None where there is no token."""
    tokens = sum(loss.tokens for loss in losses)
    return sum(loss.nll for loss in losses) / tokens if tokens else None
