"""The arithmetic of the kernels in plain torch: what runs where there is no GPU, and what `fused` is tested against.

Matrices are (tokens x features). A "wide" matrix has a few more columns than its body: the tail, which holds what the
adapters add (see `projection`). Sums and products inside one function are made in float32 (float64 stays float64) and
rounded once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def _up(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def project(x: torch.Tensor, weight: torch.Tensor, tail: torch.Tensor) -> None:
    """Write `x @ weight` into `tail`: x (tokens x k), weight (k x t), tail (tokens x t)."""
    tail.copy_(_up(x) @ _up(weight))


def copy_and_project(x: torch.Tensor, weight: torch.Tensor, wide: torch.Tensor) -> None:
    """Write x into the body of `wide` and `x @ weight` into its tail."""
    width = x.shape[1]
    wide[:, :width].copy_(x)
    project(x, weight, wide[:, width:])


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """Write `weight * x / rms(x)` into `out`, rounded as transformers does; 1 / rms of each row comes back.

    `residual`, if given, is first added to x in place.
    """
    if residual is not None:
        x += residual
    high = _up(x)
    inverse = torch.rsqrt(high.pow(2).mean(-1) + eps)
    out.copy_(weight * (high * inverse[:, None]).to(x.dtype))
    return inverse


def rms_norm_backward(
    grad: torch.Tensor, x: torch.Tensor, inverse: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None,
    out: torch.Tensor,
) -> None:  # fmt: skip
    """Write the gradient with regard to the input of `rms_norm`, plus `residual`, into `out`."""
    normed = _up(x) * inverse[:, None]
    weighted = _up(grad) * _up(weight)
    change = (weighted - normed * (weighted * normed).mean(-1, keepdim=True)) * inverse[:, None]
    out.copy_(change if residual is None else change + _up(residual))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> None:
    """Rotate the first `heads` heads of x (batch x length x heads x d) in place; cos and sin are (batch x length x d).

    The first half of a head's features turns with the second (the layout of Llama's checkpoints).
    """
    half = x.shape[-1] // 2
    c, s = _up(cos[..., :half]).unsqueeze(2), _up(sin[..., :half]).unsqueeze(2)
    first, second = _up(x[:, :, :heads, :half]), _up(x[:, :, :heads, half:])
    x[:, :, :heads, :half], x[:, :, :heads, half:] = first * c - second * s, second * c + first * s


def rotate_back_and_project(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, weight: torch.Tensor,
    wide: torch.Tensor,
) -> None:  # fmt: skip
    """Gradients of rotated q, k and of v, each (batch x length x heads x d), side by side in `wide`, rotations undone.

    The tail is filled as `copy_and_project` would.
    """
    parts = []
    for x in (q, k):
        turned = x.clone()
        rotate(turned, cos, -sin, x.shape[2])
        parts.append(turned)
    copy_and_project(torch.cat([*parts, v], 2).flatten(2).flatten(0, 1), weight, wide)


def swiglu_and_project(gate_up: torch.Tensor, weight: torch.Tensor, wide: torch.Tensor) -> None:
    """Write `silu(gate) * up` into the body of `wide`, where gate_up is both side by side; fill its tail."""
    width = gate_up.shape[1] // 2
    body = (F.silu(_up(gate_up[:, :width])) * _up(gate_up[:, width:])).to(wide.dtype)
    copy_and_project(body, weight, wide)


def swiglu_backward_and_project(
    grad: torch.Tensor, gate_up: torch.Tensor, weight: torch.Tensor, wide: torch.Tensor
) -> None:
    """Gradients of gate and up side by side in `wide`, which may be the wide matrix that `gate_up` is the body of."""
    width = gate_up.shape[1] // 2
    high, gate, up = _up(grad), _up(gate_up[:, :width]), _up(gate_up[:, width:])
    sigmoid = torch.sigmoid(gate)
    d_gate = high * up * sigmoid * (1 + gate * (1 - sigmoid))
    body = torch.cat([d_gate, high * gate * sigmoid], 1).to(wide.dtype)
    copy_and_project(body, weight, wide)


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, nll: torch.Tensor, gradient: bool) -> None:
    """Write each row's negative log-likelihood into `nll` and, if asked, its gradient over the logits themselves."""
    high = _up(logits)
    probabilities = high.log_softmax(-1)
    nll.copy_(-probabilities.gather(1, targets[:, None])[:, 0])
    if gradient:
        probabilities = probabilities.exp()
        probabilities[torch.arange(len(targets), device=targets.device), targets] -= 1
        logits.copy_(probabilities)
