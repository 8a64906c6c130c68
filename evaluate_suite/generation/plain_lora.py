"""LoRA layers that generate in the model's own precision."""

from __future__ import annotations

import types
from typing import Any

import torch


class PlainAdapter:
    """While entered, LoRA layers compute x W^T + (x A^T) (sB)^T with A and B rounded to the model's dtype, as training
    under autocast does. PEFT would compute the thin products in float32, in seven passes instead of two.

    Layers that are more than that (merged, switched off, several adapters, DoRA, a bias of their own) are left alone.
    """

    def __init__(self, model: Any) -> None:
        self.layers = [(module, _plain_forward(module, model.dtype)) for module in model.modules() if _is_plain(module)]

    def __enter__(self) -> PlainAdapter:
        for module, forward in self.layers:
            module.forward = forward
        return self

    def __exit__(self, *_: object) -> None:
        for module, _forward in self.layers:
            del module.forward


def _is_plain(module: Any) -> bool:
    if not hasattr(module, "lora_A") or module.merged or module.disable_adapters or len(module.active_adapters) != 1:
        return False
    name = module.active_adapters[0]
    special = getattr(module, "use_dora", {}).get(name) or name in getattr(module, "lora_variant", {})
    return name in module.lora_A and module.lora_B[name].bias is None and not special


def _plain_forward(layer: Any, dtype: torch.dtype) -> Any:
    name = layer.active_adapters[0]
    down = layer.lora_A[name].weight.detach().to(dtype)
    up = (layer.lora_B[name].weight.detach() * layer.scaling[name]).to(dtype)

    def forward(self: Any, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        out: torch.Tensor = self.base_layer(x)
        out.view(-1, out.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ down.t(), up.t())
        return out

    return types.MethodType(forward, layer)
