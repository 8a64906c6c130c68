"""What a run will need, from the shapes alone: peak memory, steps, time. Nothing is downloaded and nothing computed.

One training step runs on fake tensors (shapes without data), with 4-bit weights and LoRA in the layout bitsandbytes and
PEFT give them, while every storage is counted from its making to its end. Two depths are enough: layers are alike.
What it does not see: the CUDA context (0.3 to 0.6 GiB beside torch's own figure), the allocator's rounding, and what
eager kernels allocate inside. MARGIN stands for the latter two, fitted to peaks measured on an H100 (docs/speed.md).
Where the run takes our own kernels, `kernels.memory` adds up their allocations instead.
"""

from __future__ import annotations

import re
import statistics
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from curate.errors import UserError
from curate.loading import build_from_shape
from curate.selection.record import Selection
from finetune.batches.dataset import build_plan, encode_rows
from finetune.config import RunConfig
from finetune.memory import kernel_memory as memory
from finetune.memory.shapes import layer_count, load_shape, with_layers
from finetune.model import resolve_device, resolve_dtype
from finetune.run.record import readable_runs
from finetune.run.tokenizer import load_training_tokenizer

MARGIN = 1.015  # the largest shortfall of the sums, 1.2 % (docs/speed.md), and a little
GIB = 2**30
DEPTHS = (2, 4)  # layers of the small models; even, so that both kinds of layer of families that alternate are seen
# bitsandbytes NF4: 4 bits a weight; a scale per 64 weights, in 8 bits with a float32 per 256 scales (double
# quantisation), or in float32 (without).
BLOCK, NESTED_BLOCK = 64, 256


@dataclass(frozen=True)
class Forecast:
    """Peak memory in GiB with its parts, steps, and tokens of the whole run where they are known."""

    peak_gib: float
    base_weights_gib: float
    adapter_gib: float
    optimizer_gib: float
    spare_gib: float  # of the peak, what a run on a smaller card does without: dequantised weights it would keep
    activations_gib: float
    trainable_parameters: int
    tokens_per_step: int
    gradient_checkpointing: bool
    flops_per_token: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def plan_run(config: RunConfig, selection: Selection | None) -> dict[str, Any]:
    """The forecast with what the rows add: steps, tokens, seconds. None where it cannot be known.

    `seconds` goes by the newest finished run of the same model here; `seconds_at_least` by this machine's own products.
    """
    shape = load_shape(config.model)
    result = forecast(config, shape).as_dict()
    result["peak_gib_with_checkpointing"] = forecast(config, shape, checkpointing=True).peak_gib
    result |= {"steps": None, "tokens": None, "seconds": None, "seconds_at_least": None}
    if selection is None:
        return result

    tokenizer = load_training_tokenizer(config.model, selection)
    plan = build_plan(encode_rows(tokenizer, selection, selection.selected), config)
    tokens = plan.tokens
    result |= {"steps": plan.max_steps, "tokens": tokens}
    speed = measured_speed(config.model)
    result["seconds"] = None if speed is None else tokens / speed
    if config.device != "cuda" or _has_gpu():
        device = resolve_device(config.device)
        rate = arithmetic_rate(device, resolve_dtype(config.dtype, device))
        result["seconds_at_least"] = tokens * result["flops_per_token"] / rate
    return result


def _has_gpu() -> bool:
    return torch.cuda.is_available()


def measured_speed(model: str) -> float | None:
    """Median tokens per second of the newest finished run of `model` here; None when there is none."""
    for run in readable_runs():
        rates = [line["tokens_per_second"] for line in run.timings if line["tokens_per_second"]]
        if run.config.model == model and rates:
            return float(statistics.median(rates))
    return None


def arithmetic_rate(device: str, dtype: str) -> float:
    """FLOP/s of a square product on this machine, best of five: no training step can be faster than its products."""
    size = 8192 if device == "cuda" else 1024
    a = torch.ones(size, size, dtype=getattr(torch, dtype), device=device)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        (a @ a).sum().item()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def packed_bytes(weights: int, double_quant: bool) -> int:
    """Bytes of `weights` 4-bit weights with their scales, as bitsandbytes stores them."""
    blocks = -(-weights // BLOCK)
    scales = blocks + 4 * -(-blocks // NESTED_BLOCK) if double_quant else 4 * blocks
    return weights // 2 + scales


def match_targets(model: Any, target_modules: str | Sequence[str]) -> list[str]:
    """Names of the linear layers an adapter would stand on, by PEFT's rules; the output layer is never one of
    `all-linear`."""
    names = [name for name, module in model.named_modules() if _is_linear(module)]
    if target_modules == "all-linear":
        head = model.get_output_embeddings()
        return [name for name in names if model.get_submodule(name) is not head]
    if isinstance(target_modules, str):
        return [name for name in names if re.fullmatch(target_modules, name)]
    return [name for name in names if any(name == t or name.endswith(f".{t}") for t in target_modules)]


def _is_linear(module: Any) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D", "Linear4bit")


def forecast(config: RunConfig, shape: Any, checkpointing: bool | None = None) -> Forecast:
    """The forecast for one step of `config` on a model of `shape`.

    `checkpointing` None takes the config's, and for "auto" False: what the run needs when nothing is recomputed.
    """
    if checkpointing is None:
        checkpointing = config.gradient_checkpointing is True
    margin = MARGIN
    if memory.would_be_used(config, shape):
        margin, quantised = memory.MARGIN, config.bnb_4bit_use_double_quant
        parts = memory.peak_bytes(config, shape, lambda n: packed_bytes(n, quantised), checkpointing)
    else:
        low, high = (_measure(config, shape, layers, checkpointing) for layers in DEPTHS)
        layers = layer_count(shape)
        parts = {
            name: low[name] + (high[name] - low[name]) / (DEPTHS[1] - DEPTHS[0]) * (layers - DEPTHS[0]) for name in low
        } | {"kept": 0, "spare": 0}
        if config.device != "cpu":
            parts["moving"] += memory.WORKSPACES
    steady = parts["base"] + parts["adapter"] + parts["kept"]
    if not _is_paged(config):
        steady += parts["optimizer"]
    return Forecast(
        peak_gib=(steady + parts["moving"]) * margin / GIB,
        base_weights_gib=parts["base"] / GIB,
        adapter_gib=parts["adapter"] / GIB,
        optimizer_gib=parts["optimizer"] / GIB,
        spare_gib=parts["spare"] * margin / GIB,
        activations_gib=parts["moving"] / GIB,
        trainable_parameters=round(parts["trainable"]),
        tokens_per_step=config.per_device_train_batch_size * config.gradient_accumulation_steps * config.max_length,
        gradient_checkpointing=checkpointing,
        # Forward and backward through frozen weights, 2 each a weight and token; the forward again where recomputed;
        # 6 a trained weight.
        flops_per_token=parts["products"] * (6 if checkpointing else 4) + 6 * parts["trainable"],
    )


def _measure(config: RunConfig, shape: Any, layers: int, checkpointing: bool) -> dict[str, float]:
    """Bytes of each part for a model of `layers` layers."""
    dtype = torch.float32 if config.dtype == "float32" else torch.bfloat16  # float16 has bfloat16's size
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
        products = sum(m.weight.numel() for m in model.modules() if _is_linear(m))
        optimizer, trainable, adapter = _dress(model, config)
        model.train()
        if checkpointing:
            model.enable_input_require_grads()
            # transformers is renaming this one; both names take the same arguments
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        base = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
        moving = _peak_bytes(lambda: _step(model, config, dtype))
    return {"base": base, "adapter": adapter, "optimizer": optimizer, "moving": moving, "trainable": trainable,
            "products": products}  # fmt: skip


def _stand_in(attention: str) -> str:
    """The attention counted in its place: variable-length and flex need a little less than SDPA, for want of a mask."""
    return "eager" if attention == "eager" else "sdpa"


def _peak_bytes(work: Callable[[], None]) -> int:
    """The most bytes that storages made during `work` hold at once; what was there before does not count."""
    alive: dict[int, int] = {}
    total = peak = 0

    def drop(key: int) -> None:
        nonlocal total
        total -= alive.pop(key, 0)

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call,unused-ignore]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
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


def _step(model: Any, config: RunConfig, dtype: Any) -> None:
    """Forward and backward of one full batch with every token a target, as the run's own loss does it."""
    rows, length = config.per_device_train_batch_size, config.max_length
    ids = torch.zeros(rows, length, dtype=torch.long)
    kind = dtype if config.attn_implementation == "eager" else torch.bool
    # Samples that share a row, or a row with padding, are kept apart by a mask; one stream of text needs none.
    mask = None if config.packing == "joined" else torch.ones(rows, 1, length, length, dtype=kind)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        nll = _token_losses(model, ids, mask)
    torch.autograd.backward(nll.sum() / nll.numel())


def _token_losses(model: Any, ids: Any, mask: Any) -> Any:
    """A function of its own, as in the run: its logits are let go before the backward pass."""
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].flatten(0, 1)
    return F.cross_entropy(logits.float(), ids[:, 1:].flatten(), reduction="none")


def _dress(model: Any, config: RunConfig) -> tuple[float, int, int]:
    """Freeze the model, put 4-bit weights and LoRA where the run would; (optimizer bytes, trained weights, adapter
    bytes)."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    targets = set(match_targets(model, config.target_modules))
    optimizer, trained = 0.0, 0
    head = model.get_output_embeddings()
    for name, module in [(n, m) for n, m in model.named_modules() if _is_linear(m)]:
        four_bit = config.load_in_4bit and module is not head
        if name not in targets and not four_bit:
            continue
        new = _build_linear(module, config, four_bit, name in targets)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, new)
        for parameter in _trained(new):
            trained += parameter.numel()
            optimizer += _optimizer_bytes(parameter.numel(), config)
    return optimizer, trained, 4 * trained


def _trained(module: Any) -> Iterator[Any]:
    return (parameter for parameter in module.parameters() if parameter.requires_grad)


def _is_paged(config: RunConfig) -> bool:
    """Whether the optimizer's states are paged: in 8 bits, and where the card is full, in the machine's memory."""
    return config.optim == "paged_adamw_8bit" or (config.optim == "auto" and config.device != "cpu")


def _optimizer_bytes(weights: int, config: RunConfig) -> float:
    """Adam's two moments: float32, or 8 bits with a scale per 256 where bitsandbytes keeps them so (4,096 up)."""
    return 2 * weights * (1 + 4 / 256) if _is_paged(config) and weights >= 4096 else 8 * weights


def _build_linear(old: Any, config: RunConfig, four_bit: bool, lora: bool) -> Any:
    """A layer that allocates what Linear4bit with LoRA allocates, in forward and backward."""
    conv = type(old).__name__ == "Conv1D"
    rows, columns = tuple(old.weight.shape)[::-1] if conv else tuple(old.weight.shape)
    dtype = old.weight.dtype

    class Product(torch.autograd.Function):
        """x W^T with W made for the product and dropped after it, in both directions."""

        @staticmethod
        def forward(ctx: Any, x: Any, packed: Any) -> Any:
            ctx.dtype = dtype
            return x.to(dtype) @ x.new_empty(rows, columns, dtype=dtype).t()

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad @ grad.new_empty(rows, columns, dtype=grad.dtype), None

    product: Any = Product.apply

    class Layer(nn.Module):
        """Base product, plus LoRA's two where the layer is a target."""

        def __init__(self) -> None:
            super().__init__()
            packed = torch.empty(packed_bytes(rows * columns, config.bnb_4bit_use_double_quant), dtype=torch.uint8)
            self.weight = nn.Parameter(packed if four_bit else torch.empty(rows, columns, dtype=dtype), False)
            self.bias = None if old.bias is None else nn.Parameter(torch.empty(rows, dtype=dtype), False)
            if lora:
                self.lora_a = nn.Parameter(torch.empty(config.r, columns))
                self.lora_b = nn.Parameter(torch.empty(rows, config.r))

        def forward(self, x: Any) -> Any:
            out: Any = product(x, self.weight) if four_bit else nn.functional.linear(x, self.weight)
            if self.bias is not None:
                out = out + self.bias
            if lora:
                dropped = nn.functional.dropout(x, config.lora_dropout) if config.lora_dropout else x
                thin = nn.functional.linear(nn.functional.linear(dropped, self.lora_a), self.lora_b)
                out = out + thin * (config.lora_alpha / config.r)
            return out

    return Layer()
