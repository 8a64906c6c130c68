"""What the study "which rows?" computes beside matrix products: rotations, norms, the loss, attention.

Each in one kernel where this machine can (torch.compile; the flash kernel by the rows' borders), after it was held
against the plain computation; else as PyTorch computes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_model import BIN
from benchmarks.which_rows_steps import LONGEST

LOSS_CHUNK = 4096


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
            tried: dict[str, list[Any]] = {
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


def plain_attention(model: Any, borders: NDArray[np.int32], device: torch.device) -> Any:
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


def flash_attention(model: Any, borders: NDArray[np.int32], device: torch.device) -> Any:
    """Attention by the rows' borders, in PyTorch's own flash kernel."""
    cumulative = torch.from_numpy(borders).to(device)

    def attend(_: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.contiguous() for x in (q, k, v))
        out = torch.ops.aten._flash_attention_forward(
            q, k, v, cumulative, cumulative, LONGEST, LONGEST, 0.0, True, False
        )
        return out[0]  # type: ignore[no-any-return]

    return attend


def choose_attention(model: Any) -> Callable[[NDArray[np.int32], torch.device], Any]:
    """Return attention by borders where this machine computes it and its gradient as plain attention does."""

    def by(function: Any) -> Callable[[NDArray[np.int32], torch.device], Any]:
        return partial(function, model)

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
