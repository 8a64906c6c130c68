"""A frozen weight written out in full, 4-bit or not."""

from __future__ import annotations

from typing import Any

import torch

from curate.loading import quiet
from finetune.kernels import ops

with quiet():  # bitsandbytes greets on import
    from bitsandbytes.functional import dequantize_4bit


def dequantize_into(module: Any, out: torch.Tensor) -> None:
    """Write the weight of a linear layer, 4-bit or not, into `out` (out features x in features).

    A weight that was gathered from several GPUs is a plain tensor, and its layer holds what unpacks it.
    """
    weight: torch.Tensor = module.weight.data
    state = getattr(module.weight, "quant_state", None) or getattr(module, "quant_state", None)
    if state is None:
        out.copy_(weight)
        return
    packed = weight.view(torch.uint8)
    if packed.is_cuda and ops.can_fuse():
        ops.on(packed).dequantize(packed, state, out)
    else:
        out.copy_(dequantize_4bit(packed.view(-1, 1), state))
