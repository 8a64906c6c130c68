"""The memory of one training step, counted on fake tensors: shapes without data, every storage from making to end.

4-bit weights and LoRA have the layout that bitsandbytes and PEFT give them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from curate.errors import UserError
from curate.loading import build_from_shape
from finetune.config import RunConfig
from finetune.memory.shapes import with_layers
from finetune.memory.targets import is_linear, module_features, without_numbers

Kinds: TypeAlias = frozenset[str]  # names of modules with an adapter, # for the number of their layer
# bitsandbytes NF4: 4 bits a weight; a scale per 64 weights, in 8 bits with a float32 per 256 scales (double
# quantisation), or in float32 (without).
BLOCK, NESTED_BLOCK = 64, 256


def packed_bytes(weights: int, double_quant: bool) -> int:
    """Bytes of `weights` 4-bit weights with their scales, as bitsandbytes stores them."""
    blocks = -(-weights // BLOCK)
    scales = blocks + 4 * -(-blocks // NESTED_BLOCK) if double_quant else 4 * blocks
    return weights // 2 + scales


def step_bytes(
    config: RunConfig, shape: PretrainedConfig, layers: int, checkpointing: bool, dtype: torch.dtype, kinds: Kinds
) -> dict[str, float]:
    """Return the bytes of each part of a step on a model of `layers` layers, adapters on every module of `kinds`."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            model = build_from_shape(
                AutoModelForCausalLM, with_layers(shape, layers), config.model, dtype=dtype,
                attn_implementation=_stand_in(config.attn_implementation),
            )  # fmt: skip
        except ValueError as error:
            raise UserError(
                f"{config.model} cannot compute with attn_implementation={config.attn_implementation} "
                f"({str(error).partition('. ')[0]}).",
                "Set attn_implementation=eager, or take the model's preset: finetune presets",
            ) from None
        products = sum(m.weight.numel() for m in model.modules() if is_linear(m))
        dress(model, config, kinds)
        model.train()
        if checkpointing:
            model.enable_input_require_grads()
            # transformers is renaming this one; both names take the same arguments
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        base = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
        moving = peak_bytes(lambda: run_step(model, config, dtype))
    return {"base": base, "moving": moving, "products": products}


def _stand_in(attention: str) -> str:
    """The attention counted in its place: variable-length and flex need a little less than SDPA, for want of a mask."""
    return "eager" if attention == "eager" else "sdpa"


def peak_bytes(work: Callable[[], None]) -> int:
    """The most bytes that storages made during `work` hold at once; what was there before does not count."""
    alive: dict[int, int] = {}
    total = peak = 0

    def drop(key: int) -> None:
        nonlocal total
        total -= alive.pop(key, 0)

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call,unused-ignore]
        def __torch_dispatch__(
            self,
            func: Callable[..., object],
            types: Sequence[type],
            args: tuple[object, ...] = (),
            kwargs: dict[str, object] | None = None,
        ) -> object:
            nonlocal total, peak
            known = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
            result = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if not isinstance(tensor, torch.Tensor):
                    continue
                storage = tensor.untyped_storage()
                key = id(storage)
                if key in alive or key in known:  # a view, or written in place
                    continue
                alive[key] = storage.nbytes()
                total += alive[key]
                weakref.finalize(storage, drop, key)
            peak = max(peak, total)
            return result

    with Count():  # type: ignore[no-untyped-call]
        work()
    return peak


def run_step(model: PreTrainedModel, config: RunConfig, dtype: torch.dtype) -> None:
    """Forward and backward of one full batch with every token a target, as the run's own loss does it."""
    rows, length = config.per_device_train_batch_size, config.max_length
    ids = torch.zeros(rows, length, dtype=torch.long)
    kind = dtype if config.attn_implementation == "eager" else torch.bool
    # Samples that share a row, or a row with padding, are kept apart by a mask; one stream of text needs none.
    mask = None if config.packing == "joined" else torch.ones(rows, 1, length, length, dtype=kind)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        nll = _token_losses(model, ids, mask)
    torch.autograd.backward(nll.sum() / nll.numel())


def _token_losses(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """A function of its own, as in the run: its logits are let go before the backward pass."""
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].flatten(0, 1)
    return F.cross_entropy(logits.float(), ids[:, 1:].flatten(), reduction="none")


def dress(model: PreTrainedModel, config: RunConfig, kinds: Kinds) -> None:
    """Freeze the model and put 4-bit weights and LoRA where the run would."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    head = model.get_output_embeddings()
    for name, module in [(n, m) for n, m in model.named_modules() if is_linear(m)]:
        four_bit, adapted = config.load_in_4bit and module is not head, without_numbers(name) in kinds
        if adapted or four_bit:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, _build_linear(module, config, four_bit, adapted))


def _build_linear(old: nn.Module, config: RunConfig, four_bit: bool, lora: bool) -> nn.Module:
    """A layer that allocates what Linear4bit with LoRA allocates, in forward and backward."""
    columns, rows = module_features(old) or (0, 0)
    dtype, has_bias = next(old.parameters()).dtype, getattr(old, "bias", None) is not None

    class Product(torch.autograd.Function):
        """x W^T with W made for the product and dropped after it, in both directions."""

        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
            ctx.dtype = dtype
            return x.to(dtype) @ x.new_empty(rows, columns, dtype=dtype).t()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
            return grad @ grad.new_empty(rows, columns, dtype=grad.dtype), None

    product: Any = Product.apply

    class Layer(nn.Module):
        """Base product, plus LoRA's two where the layer is a target."""

        def __init__(self) -> None:
            super().__init__()
            packed = torch.empty(packed_bytes(rows * columns, config.bnb_4bit_use_double_quant), dtype=torch.uint8)
            self.weight = nn.Parameter(packed if four_bit else torch.empty(rows, columns, dtype=dtype), False)
            self.bias = nn.Parameter(torch.empty(rows, dtype=dtype), False) if has_bias else None
            if lora:
                self.lora_a = nn.Parameter(torch.empty(config.r, columns))
                self.lora_b = nn.Parameter(torch.empty(rows, config.r))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = product(x, self.weight) if four_bit else nn.functional.linear(x, self.weight)
            if self.bias is not None:
                out = out + self.bias
            if lora:
                dropped = nn.functional.dropout(x, config.lora_dropout) if config.lora_dropout else x
                thin = nn.functional.linear(nn.functional.linear(dropped, self.lora_a), self.lora_b)
                out = out + thin * (config.lora_alpha / config.r)
            return out

    return Layer()
