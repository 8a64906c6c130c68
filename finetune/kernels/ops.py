"""Which implementation computes: `fused` on a GPU that Triton compiles for, `plain` everywhere else."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def can_fuse() -> bool:
    """Whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def on(tensor: torch.Tensor) -> Any:
    """The module, `fused` or `plain`, whose functions take tensors where `tensor` is."""
    if tensor.is_cuda and can_fuse():
        from finetune.kernels import fused

        return fused
    from finetune.kernels import plain

    return plain
