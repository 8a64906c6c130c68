"""Causal attention over packed rows: no sample sees another, and no mask is built.

Where transformers makes a (batch x length x length) mask from restarting positions, this finds the borders once a
forward pass and attends from border to border: FlashAttention's variable-length kernel on a GPU (Dao, 2023), one
sample after the other on a CPU. Rows that hold one sample each take torch's own causal attention.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "varlen"


@dataclass(frozen=True)
class Segments:
    """Where samples start in the rows laid end to end: `starts` and `cumulative` end with the number of tokens."""

    cumulative: torch.Tensor  # int32, on the device
    starts: list[int]
    longest: int
    whole_rows: bool  # every row is one sample


class SegmentFinder:
    """`Segments` of the positions it is asked about; the last answer is kept, since every layer asks the same."""

    def __init__(self) -> None:
        self._positions: torch.Tensor | None = None
        self._shape: tuple[int, int] | None = None
        self._found: Segments | None = None

    def find(self, positions: torch.Tensor | None, batch: int, length: int) -> Segments:
        """Segments of (batch x length) tokens; None stands for rows of one sample each."""
        if self._found is None or positions is not self._positions or self._shape != (batch, length):
            self._found = find_segments(positions, batch, length)
            self._positions, self._shape = positions, (batch, length)
        return self._found


def find_segments(positions: torch.Tensor | None, batch: int, length: int) -> Segments:
    """A sample starts wherever a row does and wherever the position is not one more than the one before."""
    if positions is None or length == 1:
        starts = list(range(0, batch * length + 1, length))
        device = None if positions is None else positions.device
    else:
        rows = positions.expand(batch, length)
        border = torch.ones_like(rows, dtype=torch.bool)
        border[:, 1:] = rows[:, 1:] != rows[:, :-1] + 1
        starts = [*border.flatten().nonzero()[:, 0].tolist(), batch * length]
        device = positions.device
    longest = max(b - a for a, b in pairwise(starts))
    cumulative = torch.tensor(starts, dtype=torch.int32, device=device)
    return Segments(cumulative, starts, longest, len(starts) == batch + 1)


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, segments: Segments, scale: float, window: int | None = None
) -> torch.Tensor:
    """Causal attention inside each segment; q, k, v and the result are (batch x length x heads x d).

    With a `window` a token sees itself and the `window` - 1 tokens before it.
    """
    if window is not None and window >= segments.longest:
        window = None
    if segments.whole_rows and window is None:
        return _causal(q, k, v, scale)
    flat_q, flat_k, flat_v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
    if q.is_cuda and not _repeatable():
        out = _flash(flat_q, flat_k, flat_v, segments, scale, window)
    else:
        borders = pairwise(segments.starts)
        out = torch.cat(
            [_causal(flat_q[None, a:b], flat_k[None, a:b], flat_v[None, a:b], scale, window)[0] for a, b in borders]
        )
    return out.view(q.shape)


def can_slide(device: str) -> bool:
    """Return whether attention here can be limited to a window: on a GPU torch's kernel must know one."""
    return device != "cuda" or "window_size" in inspect.signature(varlen_attn).parameters


def _causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, window: int | None = None) -> torch.Tensor:
    band = None
    if window is not None and window < q.shape[1]:
        places = torch.arange(q.shape[1], device=q.device)
        before = places[:, None] - places[None]
        band = (before >= 0) & (before < window)
    # cuDNN's kernel is the fastest on Hopper; the fused kernels' backward passes do not all repeat to the bit.
    order = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    if q.is_cuda:
        order = [SDPBackend.MATH] if _repeatable() else [SDPBackend.CUDNN_ATTENTION, *order]
    with sdpa_kernel(order, set_priority=True):
        return F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), band, is_causal=band is None, scale=scale,
            enable_gqa=q.shape[2] != k.shape[2],
        ).transpose(1, 2)  # fmt: skip


def _repeatable() -> bool:
    """Whether results must repeat to the bit."""
    return torch.are_deterministic_algorithms_enabled()


def _flash(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, segments: Segments, scale: float, window: int | None
) -> torch.Tensor:
    known = inspect.signature(varlen_attn).parameters
    left = -1 if window is None else window - 1
    extra: dict[str, Any] = {"window_size": (left, 0)} if "window_size" in known else {"is_causal": True}
    if "scale" in known:
        extra["scale"] = scale
    elif scale != q.shape[-1] ** -0.5:
        q = q * (scale * q.shape[-1] ** 0.5)
    if q.shape[1] != k.shape[1]:
        if "enable_gqa" in known:
            extra["enable_gqa"] = True
        else:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    cumulative, longest = segments.cumulative.to(q.device), segments.longest
    out: Any = varlen_attn(q, k, v, cumulative, cumulative, longest, longest, **extra)
    return out  # type: ignore[no-any-return]


def register() -> str:
    """Make `varlen` an attention implementation that transformers knows; its name comes back.

    Only what training needs goes through it: with a cache or a mask, transformers' SDPA computes as it always does.
    """
    finder = SegmentFinder()

    def forward(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> Any:
        batch, _, length, width = query.shape
        if attention_mask is not None or key.shape[2] != length or kwargs.get("position_ids") is None:
            return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        window = kwargs.get("sliding_window")
        if kwargs.get("dropout") or kwargs.get("softcap") or (window and not can_slide(query.device.type)):
            raise ValueError(f"{NAME} attention has no dropout or soft cap, nor a window here; use sdpa or eager")
        segments = finder.find(kwargs["position_ids"], batch, length)
        scaling = kwargs.get("scaling") or width**-0.5
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        return attend(q, k, v, segments, scaling, window or None), None

    def mask(*args: Any, **kwargs: Any) -> Any:
        queries = kwargs["q_length"] if "q_length" in kwargs else len(kwargs["cache_position"])
        packed = queries == kwargs["kv_length"] and kwargs.get("attention_mask") is None
        return None if packed else sdpa_mask(*args, **kwargs)

    AttentionInterface.register(NAME, forward)
    AttentionMaskInterface.register(NAME, mask)
    return NAME
