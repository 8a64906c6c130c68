"""Attention for one step of decoding on a GPU that reads no more of the cache than a row holds.

A mask would have every row read as many columns as the longest row holds. Here a program owns one head of one row and
stops where that row ends, in the manner of FlashDecoding (Dao et al., 2023) without its split: a batch has programs
enough. The row's length is read from memory, so that one captured CUDA graph serves steps of every length.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from transformers import AttentionInterface

NAME = "slots"
MODEL_TYPES = ("llama", "mistral", "qwen2")  # where attention is nothing but softmax(q k^T) v
OLDEST_CARD = (8, 0)
COLUMNS = 64  # of the cache in one round of the loop


def can_attend(model: Any) -> bool:
    """Whether these kernels may take the place of the model's own attention."""
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return (
        config.model_type in MODEL_TYPES
        and config._attn_implementation == "sdpa"
        and width in (16, 32, 64, 128, 256)
        and torch.cuda.get_device_capability(model.device) >= OLDEST_CARD
    )


@triton.jit
def _store_kernel(
    k_ptr, v_ptr, n_row, n_head, keys_ptr, values_ptr, c_row, c_head, c_column, positions_ptr, WIDTH: tl.constexpr
):
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, WIDTH)
    new = row * n_row + head * n_head + d
    place = row * c_row + head * c_head + tl.load(positions_ptr + row) * c_column + d
    tl.store(keys_ptr + place, tl.load(k_ptr + new))
    tl.store(values_ptr + place, tl.load(v_ptr + new))


@triton.jit
def _attend_kernel(
    q_ptr, q_row, q_head, keys_ptr, values_ptr, c_row, c_head, c_column, out_ptr, positions_ptr, scale, heads, group,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    length = tl.load(positions_ptr + row) + 1
    d = tl.arange(0, WIDTH)
    q = tl.load(q_ptr + row * q_row + head * q_head + d).to(tl.float32) * (scale * 1.4426950408889634)  # log2(e)
    base = row * c_row + (head // group) * c_head
    largest = float("-inf")
    weight = 0.0
    total = tl.zeros((WIDTH,), tl.float32)
    for start in range(0, length, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        mask = (column < length)[:, None]
        at = base + column[:, None] * c_column + d[None, :]
        k = tl.load(keys_ptr + at, mask, 0.0).to(tl.float32)
        score = tl.where(column < length, tl.sum(k * q[None, :], 1), float("-inf"))
        bigger = tl.maximum(largest, tl.max(score, 0))
        share = tl.exp2(score - bigger)
        shrink = tl.exp2(largest - bigger)
        v = tl.load(values_ptr + at, mask, 0.0).to(tl.float32)
        total = total * shrink + tl.sum(share[:, None] * v, 0)
        weight = weight * shrink + tl.sum(share, 0)
        largest = bigger
    tl.store(out_ptr + (row * heads + head) * WIDTH + d, (total / weight).to(out_ptr.dtype.element_ty))


def store_step(
    new_keys: torch.Tensor, new_values: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor
) -> None:
    """Write one token a row, (rows, heads, 1, d), into column `positions[row]` of the caches (rows, heads, n, d)."""
    rows, heads, _, width = new_keys.shape
    if new_values.stride() != new_keys.stride():
        new_keys, new_values = new_keys.contiguous(), new_values.contiguous()
    _store_kernel[(rows, heads)](
        new_keys, new_values, new_keys.stride(0), new_keys.stride(1), keys, values, *keys.stride()[:3], positions,
        WIDTH=width,
    )  # fmt: skip


def attend_step(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention of one query a row, (rows, heads, 1, d), to columns 0 to `positions[row]`: (rows, 1, heads, d)."""
    rows, heads, _, width = q.shape
    out = q.new_empty(rows, 1, heads, width)
    _attend_kernel[(rows, heads)](
        q, q.stride(0), q.stride(1), keys, values, *keys.stride()[:3], out, positions, scale, heads,
        heads // keys.shape[1], WIDTH=width, COLUMNS=COLUMNS, num_warps=4,
    )  # fmt: skip
    return out


@contextlib.contextmanager
def slot_attention(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """While it lasts, the model's layers attend with `attend_step` at `positions` (rows,)."""

    def forward(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **_: Any) -> Any:
        return attend_step(query, key, value, positions, scaling), None

    AttentionInterface.register(NAME, forward)
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
