"""The loss of every labelled token and the final norm, without a matrix of all logits."""

from __future__ import annotations

from typing import Any

import torch

from finetune.kernels import ops
from finetune.memory.kernel_memory import CHUNK


def token_losses(hidden: torch.Tensor, head: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """float32 negative log-likelihood (nats) of each target, predicted from the hidden state of its row.

    hidden (tokens x h), head (vocabulary x h), rows and targets (n,); no row twice.

    The head is frozen, and a row's gradient with regard to its hidden state is linear in the gradient that reaches its
    loss; so the forward pass makes it for a gradient of 1, while the logits are there, and the backward pass scales it.
    """
    return _functions()[0].apply(hidden, head, rows, targets)  # type: ignore[no-any-return]


def final_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm with a frozen weight over the last dimension of x, differentiable in x."""
    return _functions()[1].apply(x, weight, eps)  # type: ignore[no-any-return]


def _compute(
    hidden: torch.Tensor, head: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor, gradient: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(losses, gradient of the hidden states for a gradient of 1 a loss, or None)."""
    run = ops.on(hidden)
    high = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    nll = hidden.new_empty(len(rows), dtype=high)
    change = torch.zeros_like(hidden) if gradient else None
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        logits = hidden[rows[part]] @ head.t()
        run.cross_entropy(logits, targets[part], nll[part], gradient)
        if change is not None:
            change.index_copy_(0, rows[part], logits @ head)
        del logits  # or two chunks of them would live while the next is made
    return nll, change


def _functions() -> tuple[Any, Any]:
    """The two autograd functions, made on first use: importing this module does not import torch."""
    global _FUNCTIONS
    if _FUNCTIONS is None:

        class TokenLosses(torch.autograd.Function):
            """See `token_losses`."""

            @staticmethod
            def forward(
                ctx: Any, hidden: torch.Tensor, head: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor
            ) -> torch.Tensor:
                with torch.autocast(hidden.device.type, enabled=False):
                    nll, change = _compute(hidden, head, rows, targets, ctx.needs_input_grad[0])
                if change is not None:
                    ctx.save_for_backward(change, rows)
                return nll

            @staticmethod
            @torch.autograd.function.once_differentiable
            def backward(ctx: Any, grad: torch.Tensor) -> Any:
                change, rows = ctx.saved_tensors
                scale = grad.new_zeros(len(change)).index_copy_(0, rows, grad)
                return torch.mul(change, scale[:, None], out=torch.empty_like(change)), None, None, None

        class FinalNorm(torch.autograd.Function):
            """See `final_norm`."""

            @staticmethod
            def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
                flat = x.reshape(-1, x.shape[-1])
                out = torch.empty_like(flat)
                inverse = ops.on(x).rms_norm(flat, weight, eps, out)
                ctx.save_for_backward(flat, inverse, weight)
                return out.view(x.shape)

            @staticmethod
            @torch.autograd.function.once_differentiable
            def backward(ctx: Any, grad: torch.Tensor) -> Any:
                flat, inverse, weight = ctx.saved_tensors
                out = torch.empty_like(flat)
                ops.on(flat).rms_norm_backward(grad.reshape(flat.shape), flat, inverse, weight, None, out)
                return out.view(grad.shape), None, None

        _FUNCTIONS = TokenLosses, FinalNorm
    return _FUNCTIONS  # type: ignore[no-any-return]


_FUNCTIONS: Any = None
