"""The functions of `plain` as Triton kernels, each one pass over its matrices. Same names, same results up to rounding.

Every kernel that makes a wide matrix also makes its tail: a program owns a block of tokens, walks over some of the
features, and multiplies what it has just computed with the thin weight while it is still in registers. Its share of the
tail goes to a float32 matrix of its own, and `_finish_tail` adds the shares in a fixed order, so results repeat.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from finetune.kernels.fused_rows import cross_entropy, dequantize, rms_norm, rms_norm_backward

__all__ = [
    "copy_and_project",
    "cross_entropy",
    "dequantize",
    "project",
    "rms_norm",
    "rms_norm_backward",
    "rotate",
    "rotate_back_and_project",
    "swiglu_and_project",
    "swiglu_backward_and_project",
]

TOKENS = 64  # a program's block of tokens in the kernels that also fill a tail
FEATURES = 64  # features per step there
SHARES = 8  # programs that share one block of tokens, each with its part of the features


@triton.jit
def _finish_tail_kernel(
    shares_ptr, tail_ptr, tail_row, tokens, SHARES: tl.constexpr, TAIL: tl.constexpr, BM: tl.constexpr
):
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    t = tl.arange(0, TAIL)
    mask = (rows < tokens)[:, None]
    total = tl.zeros((BM, TAIL), tl.float32)
    for share in range(SHARES):
        total += tl.load(shares_ptr + (share * tokens + rows[:, None]) * TAIL + t[None, :], mask, 0.0)
    tl.store(tail_ptr + rows[:, None] * tail_row + t[None, :], total.to(tail_ptr.dtype.element_ty), mask)


def _new_shares(wide: torch.Tensor, shares: int, tail: int) -> torch.Tensor:
    """Where the programs leave their parts of the tail."""
    return wide.new_empty((shares, len(wide), tail) if tail else (0,), dtype=torch.float32)


def _finish_tail(shares: torch.Tensor, tail: torch.Tensor) -> None:
    """Write the sum of the parts into `tail` (tokens x t); nothing to do where there is no tail."""
    if tail.shape[1]:
        block = 32
        _finish_tail_kernel[(triton.cdiv(len(tail), block),)](
            shares, tail, tail.stride(0), len(tail), SHARES=len(shares), TAIL=tail.shape[1], BM=block, num_warps=4
        )


@triton.jit
def _project_kernel(
    x_ptr, x_row, w_ptr, w_row, w_col, tail_ptr, tail_row, tokens, width,
    TAIL: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    inside = rows < tokens
    t = tl.arange(0, TAIL)
    total = tl.zeros((BM, TAIL), tl.float32)
    for start in range(0, width, BK):
        columns = start + tl.arange(0, BK)
        x = tl.load(x_ptr + rows[:, None] * x_row + columns[None, :], inside[:, None] & (columns < width)[None, :], 0.0)
        w = tl.load(w_ptr + columns[:, None] * w_row + t[None, :] * w_col, (columns < width)[:, None], 0.0)
        total = tl.dot(x, w, total)
    tl.store(tail_ptr + rows[:, None] * tail_row + t[None, :], total.to(tail_ptr.dtype.element_ty),
             inside[:, None])  # fmt: skip


def project(x: torch.Tensor, weight: torch.Tensor, tail: torch.Tensor) -> None:
    """See `plain.project`."""
    tokens, width = x.shape
    _project_kernel[(triton.cdiv(tokens, TOKENS),)](
        x, x.stride(0), weight, weight.stride(0), weight.stride(1), tail, tail.stride(0), tokens, width,
        TAIL=weight.shape[1], BM=TOKENS, BK=128, num_warps=4, num_stages=4 if x.element_size() == 2 else 2,
    )  # fmt: skip


def copy_and_project(x: torch.Tensor, weight: torch.Tensor, wide: torch.Tensor) -> None:
    """See `plain.copy_and_project`.

    Two passes: in one kernel, which stored the block it multiplied, Triton 3.6 overwrote blocks still being read.
    """
    width = x.shape[1]
    wide[:, :width].copy_(x)
    if weight.shape[1]:
        project(x, weight, wide[:, width:])


@triton.jit
def _rotate_kernel(
    x_ptr, x_batch, x_token, x_head, cos_ptr, sin_ptr, c_batch, c_token, length, heads,
    HALF: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    batch, place = token // length, token % length
    head = tl.program_id(1) * BH + tl.arange(0, BH)
    d = tl.arange(0, HALF)
    c = tl.load(cos_ptr + batch * c_batch + place * c_token + d).to(tl.float32)[None, :]
    s = tl.load(sin_ptr + batch * c_batch + place * c_token + d).to(tl.float32)[None, :]
    at = x_ptr + batch * x_batch + place * x_token + head[:, None] * x_head + d[None, :]
    mask = (head < heads)[:, None]
    first, second = tl.load(at, mask, 0.0).to(tl.float32), tl.load(at + HALF, mask, 0.0).to(tl.float32)
    tl.store(at, (first * c - second * s).to(x_ptr.dtype.element_ty), mask)
    tl.store(at + HALF, (second * c + first * s).to(x_ptr.dtype.element_ty), mask)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> None:
    """See `plain.rotate`."""
    batch, length, _, width = x.shape
    block = min(16, triton.next_power_of_2(heads))
    _rotate_kernel[(batch * length, triton.cdiv(heads, block))](
        x, x.stride(0), x.stride(1), x.stride(2), cos, sin, cos.stride(0), cos.stride(1), length, heads,
        HALF=width // 2, BH=block, num_warps=4,
    )  # fmt: skip


@triton.jit
def _rotate_back_part(
    x_ptr, at, x_head, heads, first_head, low, high, c, s, w_ptr, w_row, out_at, mask, total,
    ROTATE: tl.constexpr, HALF: tl.constexpr, TAIL: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Those heads of one of q, k, v that lie between `low` and `high` of all: turned back, stored at their place,
    multiplied onto `total`, which comes back."""
    d = tl.arange(0, HALF)
    t = tl.arange(0, BT)
    for head in range(tl.maximum(low - first_head, 0), tl.minimum(high - first_head, heads)):
        place = at[:, None] + head * x_head + d[None, :]
        first, second = tl.load(x_ptr + place, mask, 0.0), tl.load(x_ptr + place + HALF, mask, 0.0)
        if ROTATE:
            one, two = first.to(tl.float32), second.to(tl.float32)
            first, second = (one * c + two * s).to(first.dtype), (two * c - one * s).to(first.dtype)
        columns = (first_head + head) * 2 * HALF + d
        tl.store(out_at + columns[None, :], first, mask)
        tl.store(out_at + columns[None, :] + HALF, second, mask)
        if TAIL > 0:
            w = w_ptr + columns[:, None] * w_row + t[None, :]
            total = tl.dot(first, tl.load(w), total)
            total = tl.dot(second, tl.load(w + HALF * w_row), total)
    return total


@triton.jit
def _rotate_back_kernel(
    q_ptr, q_batch, q_token, q_head, k_ptr, k_batch, k_token, k_head, v_ptr, v_batch, v_token, v_head,
    cos_ptr, sin_ptr, c_batch, c_token, w_ptr, w_row, wide_ptr, wide_row, shares_ptr, tokens, length,
    q_heads, kv_heads, heads_each, HALF: tl.constexpr, TAIL: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    mask = (rows < tokens)[:, None]
    batch, place = rows // length, rows % length
    d = tl.arange(0, HALF)
    angle = batch[:, None] * c_batch + place[:, None] * c_token + d[None, :]
    c = tl.load(cos_ptr + angle, mask, 0.0).to(tl.float32)
    s = tl.load(sin_ptr + angle, mask, 0.0).to(tl.float32)
    total = tl.zeros((BM, BT), tl.float32)
    out = wide_ptr + rows[:, None] * wide_row
    low = tl.program_id(1) * heads_each
    high = tl.minimum(low + heads_each, q_heads + 2 * kv_heads)
    total = _rotate_back_part(
        q_ptr, batch * q_batch + place * q_token, q_head, q_heads, 0, low, high, c, s, w_ptr, w_row, out, mask,
        total, True, HALF, TAIL, BT,
    )  # fmt: skip
    total = _rotate_back_part(
        k_ptr, batch * k_batch + place * k_token, k_head, kv_heads, q_heads, low, high, c, s, w_ptr, w_row, out, mask,
        total, True, HALF, TAIL, BT,
    )  # fmt: skip
    total = _rotate_back_part(
        v_ptr, batch * v_batch + place * v_token, v_head, kv_heads, q_heads + kv_heads, low, high, c, s, w_ptr, w_row,
        out, mask, total, False, HALF, TAIL, BT,
    )  # fmt: skip
    if TAIL > 0:
        at = shares_ptr + (tl.program_id(1) * tokens + rows[:, None]) * TAIL + tl.arange(0, BT)[None, :]
        tl.store(at, total, mask)


def rotate_back_and_project(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, weight: torch.Tensor,
    wide: torch.Tensor,
) -> None:  # fmt: skip
    """See `plain.rotate_back_and_project`."""
    batch, length, heads, width = q.shape
    tail, stacked = weight.shape[1], heads + 2 * k.shape[2]
    each = triton.cdiv(stacked, SHARES)
    shares = _new_shares(wide, triton.cdiv(stacked, each), tail)
    block = 32
    _rotate_back_kernel[(triton.cdiv(batch * length, block), triton.cdiv(stacked, each))](
        q, *q.stride()[:3], k, *k.stride()[:3], v, *v.stride()[:3], cos, sin, cos.stride(0), cos.stride(1),
        weight, weight.stride(0), wide, wide.stride(0), shares, batch * length, length, heads, k.shape[2], each,
        HALF=width // 2, TAIL=tail, BT=max(tail, 16), BM=block, num_warps=4,
    )  # fmt: skip
    _finish_tail(shares, wide[:, stacked * width :])


@triton.jit
def _swiglu_kernel(
    gu_ptr, gu_row, w_ptr, w_row, w_col, wide_ptr, wide_row, shares_ptr, tokens, width, each,
    TAIL: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    inside = rows < tokens
    t = tl.arange(0, BT)
    total = tl.zeros((BM, BT), tl.float32)
    first = tl.program_id(1) * each
    for start in range(first, tl.minimum(first + each, width), BK):
        columns = start + tl.arange(0, BK)
        mask = inside[:, None] & (columns < width)[None, :]
        at = gu_ptr + rows[:, None] * gu_row + columns[None, :]
        gate, up = tl.load(at, mask, 0.0).to(tl.float32), tl.load(at + width, mask, 0.0).to(tl.float32)
        body = (gate * tl.sigmoid(gate) * up).to(wide_ptr.dtype.element_ty)
        tl.store(wide_ptr + rows[:, None] * wide_row + columns[None, :], body, mask)
        if TAIL > 0:
            w = tl.load(w_ptr + columns[:, None] * w_row + t[None, :] * w_col, (columns < width)[:, None], 0.0)
            total = tl.dot(body, w, total)
    if TAIL > 0:
        tl.store(shares_ptr + (tl.program_id(1) * tokens + rows[:, None]) * TAIL + t[None, :], total, inside[:, None])


def swiglu_and_project(gate_up: torch.Tensor, weight: torch.Tensor, wide: torch.Tensor) -> None:
    """See `plain.swiglu_and_project`."""
    tokens, width = len(gate_up), gate_up.shape[1] // 2
    tail, (each, count) = weight.shape[1], _split(width)
    shares = _new_shares(wide, count, tail)
    _swiglu_kernel[(triton.cdiv(tokens, TOKENS), count)](
        gate_up, gate_up.stride(0), weight, weight.stride(0), weight.stride(1), wide, wide.stride(0), shares, tokens,
        width, each, TAIL=tail, BT=max(tail, 16), BM=TOKENS, BK=FEATURES, num_warps=4,
    )  # fmt: skip
    _finish_tail(shares, wide[:, width:])


def _split(width: int) -> tuple[int, int]:
    """(features each program takes, programs) so that at most SHARES programs share a block of tokens."""
    each = triton.cdiv(triton.cdiv(width, FEATURES), SHARES) * FEATURES
    return each, triton.cdiv(width, each)


@triton.jit
def _swiglu_backward_kernel(
    g_ptr, g_row, gu_ptr, gu_row, w_ptr, w_row, wide_ptr, wide_row, shares_ptr, tokens, width, each,
    TAIL: tl.constexpr, BT: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    inside = rows < tokens
    t = tl.arange(0, BT)
    total = tl.zeros((BM, BT), tl.float32)
    first = tl.program_id(1) * each
    for start in range(first, tl.minimum(first + each, width), BK):
        columns = start + tl.arange(0, BK)
        mask = inside[:, None] & (columns < width)[None, :]
        at = gu_ptr + rows[:, None] * gu_row + columns[None, :]
        gate, up = tl.load(at, mask, 0.0).to(tl.float32), tl.load(at + width, mask, 0.0).to(tl.float32)
        grad = tl.load(g_ptr + rows[:, None] * g_row + columns[None, :], mask, 0.0).to(tl.float32)
        sigmoid = tl.sigmoid(gate)
        d_gate = (grad * up * sigmoid * (1 + gate * (1 - sigmoid))).to(wide_ptr.dtype.element_ty)
        d_up = (grad * gate * sigmoid).to(wide_ptr.dtype.element_ty)
        out = wide_ptr + rows[:, None] * wide_row + columns[None, :]
        tl.store(out, d_gate, mask)
        tl.store(out + width, d_up, mask)
        if TAIL > 0:
            w = w_ptr + columns[:, None] * w_row + t[None, :]
            total = tl.dot(d_gate, tl.load(w, (columns < width)[:, None], 0.0), total)
            total = tl.dot(d_up, tl.load(w + width * w_row, (columns < width)[:, None], 0.0), total)
    if TAIL > 0:
        tl.store(shares_ptr + (tl.program_id(1) * tokens + rows[:, None]) * TAIL + t[None, :], total, inside[:, None])


def swiglu_backward_and_project(
    grad: torch.Tensor, gate_up: torch.Tensor, weight: torch.Tensor, wide: torch.Tensor
) -> None:
    """See `plain.swiglu_backward_and_project`."""
    tokens, width = grad.shape
    tail, (each, count) = weight.shape[1], _split(width)
    shares = _new_shares(wide, count, tail)
    _swiglu_backward_kernel[(triton.cdiv(tokens, TOKENS), count)](
        grad, grad.stride(0), gate_up, gate_up.stride(0), weight, weight.stride(0), wide, wide.stride(0), shares,
        tokens, width, each, TAIL=tail, BT=max(tail, 16), BM=TOKENS, BK=FEATURES, num_warps=4,
    )  # fmt: skip
    _finish_tail(shares, wide[:, 2 * width :])
