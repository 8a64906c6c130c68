"""Which implementation computes: `fused` on a GPU that Triton compiles for, `plain` everywhere else."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from finetune.kernels import plain

if importlib.util.find_spec("triton") is not None:
    from finetune.kernels import fused


def can_fuse() -> bool:
    """Return whether Triton is installed."""
    return importlib.util.find_spec("triton") is not None


def on(tensor: torch.Tensor) -> Any:
    """Return the module, `fused` or `plain`, whose functions take tensors where `tensor` is."""
    return fused if tensor.is_cuda and can_fuse() else plain
