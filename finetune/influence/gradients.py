"""Inner products of every row's gradient with given directions, for all adapters, without a gradient for each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import build_packed_batch, pack_examples
from finetune.batches.token_loss import EVAL_BIN_TOKENS, token_nll


def adapter_layers(model: nn.Module) -> list[nn.Linear]:
    """Return the linear layers that a LoRA adapter adds, A and B of each module, in the model's order."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and {"lora_A", "lora_B"} & set(name.split("."))
    ]


def mean_gradient(
    model: Any, layers: Sequence[nn.Linear], examples: Sequence[EncodedExample], pad: int
) -> list[torch.Tensor]:
    """Return the gradient of the mean loss a token over some rows with respect to every adapter layer's weight."""
    weights = [layer.weight for layer in layers]
    total, n_tokens = [torch.zeros_like(weight) for weight in weights], 0
    for places in _bins(examples):
        nll, _ = token_nll(model, _batch(model, [examples[i] for i in places], pad))
        n_tokens += len(nll)
        for place, gradient in enumerate(torch.autograd.grad(nll.sum(), weights)):
            total[place] += gradient
    return [gradient / max(1, n_tokens) for gradient in total]


def row_influences(
    model: Any,
    layers: Sequence[nn.Linear],
    direction: Sequence[torch.Tensor],
    examples: Sequence[EncodedExample],
    pad: int,
) -> NDArray[np.float64]:
    """Return <gradient of each row's summed loss, direction> (n,), one backward pass for a bin of rows.

    A linear layer's gradient for a row is the sum over its tokens of g x', so its product with a direction U is the sum
    of g'Ux: what the backward pass has in its hands anyway, and no gradient of a row is ever stored.
    """
    scores = np.zeros(len(examples))
    watch = _Watch({id(layer): each for layer, each in zip(layers, direction, strict=True)})
    hooks = [layer.register_forward_hook(watch) for layer in layers]
    hooks.append(model.get_input_embeddings().register_forward_hook(lambda _, __, out: out.requires_grad_(True)))
    try:
        for places in _bins(examples):
            batch = _batch(model, [examples[i] for i in places], pad)
            ids = batch["sample_ids"].reshape(-1)
            watch.rows = torch.where(ids < 0, len(places), ids)  # padding has no loss; it falls into one sum more
            watch.sums = torch.zeros(len(places) + 1, device=ids.device)
            nll, _ = token_nll(model, batch)
            nll.sum().backward()  # type: ignore[no-untyped-call]
            scores[places] = watch.sums[:-1].double().cpu().numpy()
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad(set_to_none=True)
    return scores


@dataclass
class _Watch:
    """A forward hook: has the backward pass add, for every token, g'Ux of a layer to the sum of the token's row."""

    directions: dict[int, torch.Tensor]
    rows: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    def __call__(self, layer: nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        direction, x = self.directions[id(layer)], args[0].detach().reshape(-1, args[0].shape[-1])

        def add(g: torch.Tensor) -> None:
            moved = x.to(direction.dtype) @ direction.T
            part = (moved * g.reshape(-1, g.shape[-1]).to(direction.dtype)).sum(-1)
            self.sums.index_add_(0, self.rows, part.float())

        out.register_hook(add)  # type: ignore[no-untyped-call]


def _bins(examples: Sequence[EncodedExample]) -> list[list[int]]:
    lengths = [len(example.input_ids) for example in examples]
    return pack_examples(lengths, max([EVAL_BIN_TOKENS, *lengths]))


def _batch(model: Any, examples: Sequence[EncodedExample], pad: int) -> dict[str, torch.Tensor]:
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in build_packed_batch([examples], pad).items()}
