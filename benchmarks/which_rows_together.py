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
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_model import ALPHA, BIN, BINS_A_STEP, EPOCHS, RATE, R, rate_share
from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import pack_examples

STEP_TOKENS = BIN * BINS_A_STEP
LONGEST = 512  # tokens of a row, and of a stretch of padding
PARTS = (("qkv", ("q", "k", "v")), ("o", ("o",)), ("gu", ("gate", "up")), ("down", ("down",)))
LOSS_CHUNK = 4096


@dataclass(frozen=True)
class Step:
    """One cell's step: token ids and positions (STEP_TOKENS,), lengths of the stretches that see only themselves, the
    places whose next token is learned, that token, and the row it belongs to."""

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    stretches: list[int]
    places: NDArray[np.int32]
    targets: NDArray[np.int32]
    rows: NDArray[np.int32]


def step_of(bins: Sequence[Sequence[int]], examples: Sequence[EncodedExample], on_prompt: bool = False) -> Step:
    """Return bins of examples, by their indices, as one step."""
    ids, positions = np.zeros(STEP_TOKENS, np.int32), np.zeros(STEP_TOKENS, np.int32)
    stretches: list[int] = []
    places, targets, rows = [], [], []
    for number in range(BINS_A_STEP):
        start = number * BIN
        for i in bins[number] if number < len(bins) else ():
            row = np.asarray(examples[i].input_ids, np.int32)
            n, first = len(row), 1 if on_prompt else max(1, examples[i].prompt_length)
            ids[start : start + n], positions[start : start + n] = row, np.arange(n)
            stretches.append(n)
            places.append(np.arange(start + first - 1, start + n - 1))
            targets.append(row[first:])
            rows.append(np.full(n - first, i))
            start += n
        while left := (number + 1) * BIN - start:
            n = min(left, LONGEST)
            positions[start : start + n] = np.arange(n)
            stretches.append(n)
            start += n
    joined = [np.concatenate([*parts, np.zeros(0)]).astype(np.int32) for parts in (places, targets, rows)]
    return Step(ids, positions, stretches, *joined)


def training_steps(examples: Sequence[EncodedExample], seed: int, on_prompt: bool = False) -> list[Step]:
    """Return every step of a training, in the order of `which_rows_model.steps_of`."""
    steps = []
    for epoch in range(EPOCHS):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(examples)).tolist()
        packed = pack_examples([len(examples[i].input_ids) for i in order], BIN)
        bins = [[order[place] for place in packed[i]] for i in rng.permutation(len(packed)).tolist()]
        steps += [step_of(bins[i : i + BINS_A_STEP], examples, on_prompt) for i in range(0, len(bins), BINS_A_STEP)]
    return steps


def measuring_steps(examples: Sequence[EncodedExample]) -> list[Step]:
    """Return the examples as steps, each in one of them."""
    bins = pack_examples([len(example.input_ids) for example in examples], BIN)
    return [step_of(bins[i : i + BINS_A_STEP], examples) for i in range(0, len(bins), BINS_A_STEP)]


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
            turned, v = qkv.split([of_query, qkv.shape[-1] - of_query], dim=-1)
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


class Operations:
    """What is no matrix product: a kernel each where torch.compile works on this machine."""

    @staticmethod
    def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Return x (T x heads x size) with its halves turned by the position's angles."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    @staticmethod
    def add_and_norm(
        x: torch.Tensor, more: torch.Tensor, weight: torch.Tensor, epsilon: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x + more, and that normalised."""
        x = x + more
        return x, F.rms_norm(x, (x.shape[-1],), weight, epsilon)

    @staticmethod
    def gated(x: torch.Tensor) -> torch.Tensor:
        """Return SiLU of the first half times the second half."""
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up

    @staticmethod
    def loss_and_share(
        logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cross entropy of each row of logits, and the gradient of weight x cross entropy."""
        dtype, logits = logits.dtype, logits.float()
        every = torch.logsumexp(logits, dim=-1, keepdim=True)
        right = torch.arange(logits.shape[-1], device=logits.device) == targets[:, None]
        nll = every[:, 0] - torch.where(right, logits, 0.0).sum(-1)
        return nll, (((logits - every).exp() - right.to(logits.dtype)) * weights[:, None]).to(dtype)


def choose_operations(device: torch.device, dtype: torch.dtype) -> Any:
    """Return the operations, compiled where that works here and gives what they give uncompiled."""
    plain = Operations()
    if device.type != "cuda":
        return plain
    names = ("rotate", "add_and_norm", "gated", "loss_and_share")
    draw = torch.Generator(device=device).manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, device=device, dtype=dtype)

    try:
        compiled = SimpleNamespace(**{name: torch.compile(getattr(Operations, name)) for name in names})
        for n in (4096, 2048):
            tried = {
                "rotate": [some(n, 12, 64), some(n, 1, 32), some(n, 1, 32)],
                "add_and_norm": [some(2, n // 2, 576), some(2, n // 2, 576), some(576), 1e-5],
                "gated": [some(2, n // 2, 3072)],
                "loss_and_share": [some(n, 1000), torch.arange(n, device=device) % 1000, some(n).float()],
            }
            for name, args in tried.items():
                outs = []
                for ops in (plain, compiled):
                    x = args[0].clone().requires_grad_(name != "loss_and_share")
                    out = getattr(ops, name)(x, *args[1:])
                    out = out if isinstance(out, tuple) else (out,)
                    of_x = torch.autograd.grad(sum(o.float().square().sum() for o in out), x) if x.requires_grad else ()
                    outs.append([*out, *of_x])
                worst = max(((a - b).float().norm() / a.float().norm()).item() for a, b in zip(*outs, strict=True))
                if not worst < 0.02:
                    raise ValueError(f"{name} differs by {worst}")
        limits: Any = torch._dynamo.config
        limits.cache_size_limit = 64
        print('{"compiled": true}', flush=True)
        return compiled
    except Exception as error:
        print(f'{{"compiled": "{type(error).__name__}: {str(error)[-300:]!r}"}}', flush=True)
        return plain


class WeightedLoss(torch.autograd.Function):
    """Cross entropy with a weight a token, in chunks; the gradient is computed on the way, so no logits are kept."""

    @staticmethod
    def forward(ctx: Any, states: Any, head: Any, targets: Any, weights: Any, loss_and_share: Any) -> Any:
        wanted = ctx.needs_input_grad[0]
        nll, moved = [], []
        for start in range(0, len(states), LOSS_CHUNK):
            own = slice(start, start + LOSS_CHUNK)
            logits = states[own] @ head.T
            if wanted:
                losses, share = loss_and_share(logits, targets[own], weights[own])
                moved.append(share @ head)
            else:
                losses = F.cross_entropy(logits.float(), targets[own], reduction="none")
            nll.append(losses)
        losses = torch.cat(nll)
        if wanted:
            ctx.save_for_backward(torch.cat(moved))
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (moved,) = ctx.saved_tensors
        return moved * grads[0].to(moved.dtype), None, None, None, None


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
                blocks = torch.block_diag(*[torch.full((width, R), ALPHA / R) for width in widths])
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


def plain_attention(model: Together, borders: NDArray[np.int32], device: torch.device) -> Any:
    """Attention by a mask over bins."""
    bins = int(borders[-1]) // BIN
    rows = np.repeat(np.arange(len(borders) - 1), np.diff(borders)).reshape(bins, BIN)
    at = torch.from_numpy(rows).to(device)
    mask = ((at[:, :, None] == at[:, None, :]) & torch.ones(BIN, BIN, dtype=torch.bool, device=device).tril())[:, None]

    def attend(_: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.reshape(bins, BIN, -1, model.size).transpose(1, 2) for x in (q, k, v))
        k, v = (x.repeat_interleave(model.heads // model.kv_heads, dim=1) for x in (k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2).reshape(bins * BIN, model.heads, model.size)

    return attend


def flash_attention(model: Together, borders: NDArray[np.int32], device: torch.device) -> Any:
    """Attention by the rows' borders, in PyTorch's own flash kernel."""
    cumulative = torch.from_numpy(borders).to(device)

    def attend(_: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.contiguous() for x in (q, k, v))
        out = torch.ops.aten._flash_attention_forward(
            q, k, v, cumulative, cumulative, LONGEST, LONGEST, 0.0, True, False
        )
        return out[0]  # type: ignore[no-any-return]

    return attend


def choose_attention(model: Together) -> Callable[[NDArray[np.int32], torch.device], Any]:
    """Return attention by borders where this machine computes it and its gradient as plain attention does."""

    def by(function: Any) -> Any:
        return lambda borders, device: function(model, borders, device)

    if model.device.type != "cuda":
        return by(plain_attention)
    borders = np.array([0, 100, 101, 600, 1024, 1324, 1400, 1912, 2048], np.int32)
    draw = torch.Generator(device=model.device).manual_seed(0)
    shape = [(2048, heads, model.size) for heads in (model.heads, model.kv_heads, model.kv_heads)]
    given = [torch.randn(s, generator=draw, device=model.device, dtype=model.dtype) for s in shape]
    try:
        outs = []
        for function in (plain_attention, flash_attention):
            leaves = [x.clone().requires_grad_(True) for x in given]
            out = function(model, borders, model.device)(0, *leaves)
            outs.append([out, *torch.autograd.grad(out.float().square().sum(), leaves)])
        worst = max(((a - b).norm() / a.norm()).item() for a, b in zip(*outs, strict=True))
        print(f'{{"flash_attention_differs_by": {worst:.4f}}}', flush=True)
        return by(flash_attention if worst < 0.02 else plain_attention)
    except Exception as error:
        print(f'{{"flash_attention_failed": "{type(error).__name__}: {str(error)[:200]!r}"}}', flush=True)
        return by(plain_attention)
