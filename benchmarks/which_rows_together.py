"""Many cells of the study "which rows?" trained at once: one base model, an adapter of its own for every cell.

A cell alone is thousands of small kernels a step, and several processes on one card wait for each other. Here C cells
take their steps together: products with the base model's weights run over all cells' tokens, the adapters are batched
products, and attention reads the rows' borders instead of a mask where the card's flash kernel can be had (checked
against plain attention first). What is computed is what `which_rows_model.train` computes, cell by cell, up to
rounding; `tests/benchmarks` holds the two against each other.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_kernels import WeightedLoss, choose_attention, choose_operations
from benchmarks.which_rows_model import ALPHA, RATE, R, rate_share
from benchmarks.which_rows_steps import STEP_TOKENS, Step, measuring_steps
from curate.tokens.tokenizers import EncodedExample

PARTS = (("qkv", ("q", "k", "v")), ("o", ("o",)), ("gu", ("gate", "up")), ("down", ("down",)))


@dataclass
class Layer:
    """One layer's frozen weights: the products that share their input are one matrix."""

    weights: dict[str, torch.Tensor]
    norms: tuple[torch.Tensor, torch.Tensor]
    widths: dict[str, list[int]]  # rows of each part of a joined matrix


class Together:
    """A Llama without adapters, and how to run it with those of C cells."""

    def __init__(self, model: Any) -> None:
        config = model.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = config.hidden_size // self.heads
        self.epsilon = config.rms_norm_eps
        self.embedding, self.head = model.model.embed_tokens.weight.detach(), model.lm_head.weight.detach()
        self.norm = model.model.norm.weight.detach()
        self.device, self.dtype = self.embedding.device, self.embedding.dtype
        self.layers = []
        for layer in model.model.layers:
            named = {**layer.self_attn._modules, **layer.mlp._modules}
            parts = {name: [named[f"{p}_proj"].weight.detach() for p in some] for name, some in PARTS}
            self.layers.append(
                Layer(
                    {name: torch.cat(some) for name, some in parts.items()},
                    (layer.input_layernorm.weight.detach(), layer.post_attention_layernorm.weight.detach()),
                    {name: [len(w) for w in some] for name, some in parts.items()},
                )
            )
        with torch.no_grad():
            at = torch.arange(2048, device=self.device)[None]
            cos, sin = model.model.rotary_emb(self.embedding[:1, None], at)
        half = self.size // 2
        self.cos, self.sin = cos[0, :, None, :half].contiguous(), sin[0, :, None, :half].contiguous()
        self.ops = choose_operations(self.device, self.dtype)
        self.attention = choose_attention(self)

    def hidden(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        adapters: Sequence[torch.Tensor],
        attend: Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
        ops: Any = None,
    ) -> torch.Tensor:
        """Return the last states (C x T x width); `adapters` are A and B of each product in the order of the layers."""
        cos, sin = self.cos[positions.reshape(-1)], self.sin[positions.reshape(-1)]
        x = F.embedding(ids, self.embedding)
        shape = x.shape[:2]
        of_query = (self.heads + self.kv_heads) * self.size
        take, ops = iter(adapters), ops or self.ops
        y = F.rms_norm(x, (x.shape[-1],), self.layers[0].norms[0], self.epsilon)
        following = [*(layer.norms[0] for layer in self.layers[1:]), self.norm]
        for number, layer in enumerate(self.layers):
            w = layer.weights
            qkv = adapted(y, w["qkv"], next(take), next(take)).view(shape.numel(), -1)
            turned, v = torch.split(qkv, [of_query, qkv.shape[-1] - of_query], dim=-1)
            q, k = ops.rotate(turned.view(len(turned), -1, self.size), cos, sin).split(
                [self.heads, self.kv_heads], dim=1
            )
            mixed = attend(number, q, k, v.view(len(v), -1, self.size)).reshape(*shape, -1)
            x, y = ops.add_and_norm(x, adapted(mixed, w["o"], next(take), next(take)), layer.norms[1], self.epsilon)
            between = ops.gated(adapted(y, w["gu"], next(take), next(take)))
            x, y = ops.add_and_norm(
                x, adapted(between, w["down"], next(take), next(take)), following[number], self.epsilon
            )
        return y

    def step_losses(
        self, steps: Sequence[Step | None], adapters: Sequence[torch.Tensor], weights: Sequence[float]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum over cells of weight x summed loss, loss of every learned token, the cells' one after another).

        A cell whose step is None has nothing left to learn.
        """
        some = next(step for step in steps if step is not None)
        full = [step or Step(some.ids, some.positions, some.stretches, *[np.zeros(0, np.int32)] * 3) for step in steps]
        device = self.device
        ids = to_device(np.stack([step.ids for step in full]), device)
        positions = to_device(np.stack([step.positions for step in full]), device)
        borders = np.cumsum([0, *(n for step in full for n in step.stretches)]).astype(np.int32)
        attend = self.attention(borders, device)
        states = self.hidden(ids, positions, adapters, attend).view(-1, self.embedding.shape[1])
        places = np.concatenate([step.places + i * STEP_TOKENS for i, step in enumerate(full)])
        of_token = np.concatenate([np.full(len(step.places), w) for step, w in zip(full, weights, strict=True)])
        targets = to_device(np.concatenate([step.targets for step in full]), device)
        learned = states.index_select(0, to_device(places, device))
        total, nll = WeightedLoss.apply(  # type: ignore[no-untyped-call]
            learned, self.head, targets, to_device(of_token.astype(np.float32), device), self.ops.loss_and_share
        )
        return total, nll

    def row_losses(self, adapters: Adapters, examples: Sequence[EncodedExample]) -> NDArray[np.float64]:
        """Return the summed loss of every example under every cell's adapter (C x n)."""
        sums = np.zeros((adapters.cells, len(examples)))
        given = adapters.leaves()
        with torch.no_grad():
            for step in measuring_steps(examples):
                _, nll = self.step_losses([step] * adapters.cells, given, [1.0] * adapters.cells)
                by_cell = nll.view(adapters.cells, -1).double().cpu().numpy()
                for cell in range(adapters.cells):
                    sums[cell] += np.bincount(step.rows, by_cell[cell], len(examples))
        return sums


def to_device(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor there, integers as int64."""
    tensor = torch.from_numpy(values if values.dtype.kind == "f" else values.astype(np.int64))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def adapted(x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return x W' + (x A') B' for every cell: x (C x T x in), A (C x r x in), B (C x out x r)."""
    return torch.baddbmm(x @ weight.T, torch.bmm(x, a.transpose(1, 2)), b.transpose(1, 2))


@dataclass
class Adapters:
    """The adapters of C cells in one buffer (C x P), and AdamW for it with a rate a cell.

    A of q, k and v are one matrix with three times r rows, B the matrix with their blocks on its diagonal: `scale` is 0
    off the blocks, alpha / r on them, 1 for A.
    """

    model: Together
    seeds: Sequence[int]
    views: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    step: int = 0

    def __post_init__(self) -> None:
        self.cells, device = len(self.seeds), self.model.device
        parts: list[tuple[torch.Tensor, torch.Tensor]] = []  # (start of every seed (C x P'), scale (P'))
        draws = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        at = 0
        for layer in self.model.layers:
            for name, widths in layer.widths.items():
                n_in, n_out, r = layer.weights[name].shape[1], sum(widths), R * len(widths)
                bound = 1 / math.sqrt(n_in)
                a = [[(torch.rand(R, n_in, generator=g) * 2 - 1) * bound for _ in widths] for g in draws]
                blocks = torch.block_diag(*[torch.full((width, R), ALPHA / R) for width in widths])  # type: ignore[no-untyped-call]
                parts.append((torch.stack([torch.cat(own) for own in a]).flatten(1), torch.ones(r * n_in)))
                parts.append((torch.zeros(self.cells, n_out * r), blocks.flatten()))
                self.views += [(at, (r, n_in)), (at + r * n_in, (n_out, r))]
                at += r * n_in + n_out * r
        self.values = torch.cat([start for start, _ in parts], dim=1).to(device)
        self.scale = torch.cat([scale for _, scale in parts]).to(device)
        self.first, self.second, self.grad = (torch.zeros_like(self.values) for _ in range(3))
        self.grads = self.split(self.grad)

    def split(self, buffer: torch.Tensor) -> list[torch.Tensor]:
        """Return the matrices (C x rows x columns) that lie in a buffer."""
        return [
            buffer[:, at : at + rows * columns].view(self.cells, rows, columns) for at, (rows, columns) in self.views
        ]

    def leaves(self) -> list[torch.Tensor]:
        """Return the matrices as the model takes them: in its precision, B times alpha / r."""
        return self.split((self.values * self.scale).to(self.model.dtype))

    @torch.no_grad()
    def update(self, grads: Sequence[torch.Tensor], rates: Sequence[float]) -> None:
        """Take one step of AdamW (no decay) with each cell's gradient clipped to a norm of 1."""
        self.step += 1
        torch._foreach_copy_(self.grads, list(grads))
        g = self.grad.mul_(self.scale)
        g.mul_((1 / (g.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1))
        self.first.lerp_(g, 0.1)
        self.second.mul_(0.999).addcmul_(g, g, value=0.001)
        divisor = (self.second.sqrt() / math.sqrt(1 - 0.999**self.step)).add_(1e-8)
        rate = torch.tensor(rates, device=g.device)[:, None] / (1 - 0.9**self.step)
        self.values.sub_(rate * self.first / divisor)


def train_together(
    model: Together, cells: Sequence[tuple[int, Sequence[Step]]], max_steps: int | None = None
) -> Adapters:
    """Train fresh adapters for several cells, (seed, steps) each; a cell with fewer steps stops moving earlier."""
    adapters = Adapters(model, [seed for seed, _ in cells])
    of_cell = [list(steps)[:max_steps] for _, steps in cells]
    for number in range(max(len(steps) for steps in of_cell)):
        now = [steps[number] if number < len(steps) else None for steps in of_cell]
        weights = [0.0 if step is None else 1 / max(1, len(step.places)) for step in now]
        leaves = [leaf.requires_grad_(True) for leaf in adapters.leaves()]
        total, _ = model.step_losses(now, leaves, weights)
        grads = torch.autograd.grad(total, leaves)
        rates = [0.0 if s is None else RATE * rate_share(number, len(own)) for s, own in zip(now, of_cell, strict=True)]
        adapters.update(grads, rates)
    return adapters
