"""The functions of `plain` that fill no tail, as Triton kernels: a program owns a row or a few, or a part of one."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

NARROW = 256  # features of rows that are normed several at a time: heads, not hidden states


@triton.jit
def _norm_kernel(
    x_ptr, x_row, r_ptr, r_row, w_ptr, out_ptr, out_row, inverse_ptr, eps, count, width,
    RESIDUAL: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    columns = tl.arange(0, BK)[None, :]
    mask = (rows < count)[:, None] & (columns < width)
    x = tl.load(x_ptr + rows[:, None] * x_row + columns, mask, 0.0)
    if RESIDUAL:
        x = (x.to(tl.float32) + tl.load(r_ptr + rows[:, None] * r_row + columns, mask, 0.0).to(tl.float32)).to(x.dtype)
        tl.store(x_ptr + rows[:, None] * x_row + columns, x, mask)
    high = x.to(tl.float32)
    inverse = 1 / tl.sqrt(tl.sum(high * high, 1) / width + eps)
    w = tl.load(w_ptr + columns, columns < width, 0.0)
    normed = (high * inverse[:, None]).to(x.dtype).to(tl.float32) * w.to(tl.float32)
    tl.store(out_ptr + rows[:, None] * out_row + columns, normed.to(out_ptr.dtype.element_ty), mask)
    tl.store(inverse_ptr + rows, inverse, rows < count)


def _rows_together(width: int) -> tuple[int, int]:
    """Return (rows of `width` that one program norms, its warps): heads are too narrow for a program each."""
    return (16, 4) if width <= NARROW else (1, 8)


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """See `plain.rms_norm`."""
    count, width = x.shape
    inverse = torch.empty(count, dtype=torch.float32, device=x.device)
    other = x if residual is None else residual
    block, warps = _rows_together(width)
    _norm_kernel[(triton.cdiv(count, block),)](
        x, x.stride(0), other, other.stride(0), weight, out, out.stride(0), inverse, eps, count, width,
        RESIDUAL=residual is not None, BM=block, BK=triton.next_power_of_2(width), num_warps=warps,
    )  # fmt: skip
    return inverse


@triton.jit
def _norm_backward_kernel(
    g_ptr, g_row, x_ptr, x_row, inverse_ptr, w_ptr, r_ptr, r_row, out_ptr, out_row, count, width,
    RESIDUAL: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    columns = tl.arange(0, BK)[None, :]
    mask = (rows < count)[:, None] & (columns < width)
    inverse = tl.load(inverse_ptr + rows, rows < count, 0.0)[:, None]
    normed = tl.load(x_ptr + rows[:, None] * x_row + columns, mask, 0.0).to(tl.float32) * inverse
    weighted = tl.load(g_ptr + rows[:, None] * g_row + columns, mask, 0.0).to(tl.float32)
    weighted *= tl.load(w_ptr + columns, columns < width, 0.0).to(tl.float32)
    change = (weighted - normed * (tl.sum(weighted * normed, 1) / width)[:, None]) * inverse
    if RESIDUAL:
        change += tl.load(r_ptr + rows[:, None] * r_row + columns, mask, 0.0).to(tl.float32)
    tl.store(out_ptr + rows[:, None] * out_row + columns, change.to(out_ptr.dtype.element_ty), mask)


def rms_norm_backward(
    grad: torch.Tensor, x: torch.Tensor, inverse: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None,
    out: torch.Tensor,
) -> None:  # fmt: skip
    """See `plain.rms_norm_backward`."""
    count, width = x.shape
    other = x if residual is None else residual
    block, warps = _rows_together(width)
    _norm_backward_kernel[(triton.cdiv(count, block),)](
        grad, grad.stride(0), x, x.stride(0), inverse, weight, other, other.stride(0), out, out.stride(0), count,
        width, RESIDUAL=residual is not None, BM=block, BK=triton.next_power_of_2(width), num_warps=warps,
    )  # fmt: skip


@triton.jit
def _cross_entropy_kernel(
    logits_ptr, logits_row, targets_ptr, nll_ptr, vocabulary, GRADIENT: tl.constexpr, BK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    base = logits_ptr + row * logits_row
    largest = tl.full((BK,), float("-inf"), tl.float32)
    total = tl.zeros((BK,), tl.float32)
    for start in range(0, vocabulary, BK):
        columns = start + tl.arange(0, BK)
        x = tl.load(base + columns, columns < vocabulary, float("-inf")).to(tl.float32)
        bigger = tl.maximum(largest, x)
        shown = tl.where(bigger == float("-inf"), 0.0, bigger)
        total = total * tl.exp(largest - shown) + tl.exp(x - shown)
        largest = bigger
    top = tl.max(largest, 0)
    log_sum = top + tl.log(tl.sum(total * tl.exp(largest - top), 0))
    target = tl.load(targets_ptr + row)
    tl.store(nll_ptr + row, log_sum - tl.load(base + target).to(tl.float32))
    if GRADIENT:
        tl.debug_barrier()  # the target's logit is read above and overwritten below
        for start in range(0, vocabulary, BK):
            columns = start + tl.arange(0, BK)
            x = tl.load(base + columns, columns < vocabulary, 0.0).to(tl.float32)
            change = tl.exp(x - log_sum) - tl.where(columns == target, 1.0, 0.0)
            tl.store(base + columns, change.to(logits_ptr.dtype.element_ty), columns < vocabulary)


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, nll: torch.Tensor, gradient: bool) -> None:
    """See `plain.cross_entropy`."""
    _cross_entropy_kernel[(len(logits),)](
        logits, logits.stride(0), targets, nll, logits.shape[1], GRADIENT=gradient, BK=4096, num_warps=8
    )


@triton.jit
def _dequantize_kernel(
    packed_ptr, code_ptr, scale_ptr, outer_code_ptr, outer_scale_ptr, offset_ptr, out_ptr, out_row, width,
    BLOCK: tl.constexpr, OUTER: tl.constexpr, NESTED: tl.constexpr, BB: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    byte = tl.program_id(1) * BB + tl.arange(0, BB)
    mask = byte < width // 2
    flat = row * (width // 2) + byte
    packed = tl.load(packed_ptr + flat, mask, 0).to(tl.int32)
    block = (2 * flat) // BLOCK
    if NESTED:
        scale = tl.load(outer_code_ptr + tl.load(scale_ptr + block, mask, 0).to(tl.int32))
        scale = scale * tl.load(outer_scale_ptr + block // OUTER, mask, 0.0) + tl.load(offset_ptr)
    else:
        scale = tl.load(scale_ptr + block, mask, 0.0)
    high = tl.load(code_ptr + (packed >> 4)) * scale
    low = tl.load(code_ptr + (packed & 15)) * scale
    columns = tl.program_id(1) * 2 * BB + tl.arange(0, 2 * BB)
    both = tl.interleave(high, low).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row * out_row + columns, both, columns < width)


def dequantize(packed: torch.Tensor, state: Any, out: torch.Tensor) -> None:
    """Write bitsandbytes' 4-bit weight into `out` (rows x width, rows may be far apart), rounded as bitsandbytes does.

    `width` is even and, as in bitsandbytes, the first of two weights sits in a byte's upper half.
    """
    rows, width = out.shape
    outer = state.state2 if state.nested else None
    block = 1024
    _dequantize_kernel[(rows, triton.cdiv(width // 2, block))](
        packed, state.code, state.absmax, outer.code if outer else state.code,
        outer.absmax if outer else state.absmax, state.offset if outer else state.code, out, out.stride(0), width,
        BLOCK=state.blocksize, OUTER=outer.blocksize if outer else 1, NESTED=bool(outer), BB=block, num_warps=4,
    )  # fmt: skip
