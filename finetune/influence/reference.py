"""The small reference run: a few checkpoints, and at each the direction in which the target's loss falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from curate.console import progress, say
from curate.tokens.tokenizers import EncodedExample
from finetune.batches.dataset import build_plan
from finetune.batches.packing import build_packed_batch
from finetune.batches.token_loss import token_nll
from finetune.config import RunConfig
from finetune.influence.gradients import mean_gradient
from finetune.trainer import rate_share

BETAS, EPSILON = (0.9, 0.999), 1e-8

Keep = Callable[[list[torch.Tensor], list[torch.Tensor]], None]  # an adapter's weights, and the direction there


def train_reference(
    model: Any,
    layers: Sequence[nn.Linear],
    examples: list[EncodedExample],
    target: Sequence[EncodedExample],
    config: RunConfig,
    checkpoints: int,
    pad: int,
    keep: Keep,
) -> None:
    """Train on `examples` as the config says, by AdamW; hand weights and direction of every checkpoint to `keep`.

    The direction is the gradient of the target's loss divided, weight by weight, as Adam divides it at that step, times
    the learning rate: to first order, how much a step on a row lowers the target's loss is its inner product with the
    row's gradient (LESS: Xia et al., 2024, arXiv 2402.04333).
    """
    plan = build_plan(examples, config)
    one_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    weights = [layer.weight for layer in layers]
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, betas=BETAS, eps=EPSILON, weight_decay=0.0)
    device = weights[0].device
    wanted = {math.ceil(plan.max_steps * (number + 1) / checkpoints) for number in range(checkpoints)}
    if len(wanted) < checkpoints:
        say(f"The reference run has {plan.max_steps} steps, and so {len(wanted)} checkpoints, not {checkpoints}.")
    with progress("Reference run", plan.max_steps) as advance:
        for step in range(plan.max_steps):
            rate = config.learning_rate * _share(config, step, plan.max_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            bins = plan.bins[step * one_step : (step + 1) * one_step]
            batches = [build_packed_batch([[plan.examples[i] for i in places]], pad) for places in bins]
            n_tokens = sum(int((batch["labels"][:, 1:] >= 0).sum()) for batch in batches)
            for batch in batches:
                nll, _ = token_nll(model, {name: value.to(device) for name, value in batch.items()})
                (nll.sum() / max(1, n_tokens)).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            advance(1)
            if step + 1 in wanted:
                gradient = mean_gradient(model, layers, target, pad)
                scale = [_divisor(optimizer.state[weight], step + 1) for weight in weights]
                direction = [rate * g / s for g, s in zip(gradient, scale, strict=True)]
                keep([weight.detach().clone() for weight in weights], direction)


def _share(config: RunConfig, step: int, steps: int) -> float:
    """Return the share of the learning rate at `step`: warm-up, then a line that ends at a tenth.

    The last checkpoint must count for something, so the rate does not go to 0.
    """
    left = (steps - step) / max(1, steps - config.warmup_steps)
    return rate_share(step, config.warmup_steps, lambda _: max(0.1, min(1.0, left)))


def _divisor(state: dict[str, Any], step: int) -> torch.Tensor:
    second: torch.Tensor = state["exp_avg_sq"] / (1 - BETAS[1] ** step)
    return second.sqrt() + EPSILON
