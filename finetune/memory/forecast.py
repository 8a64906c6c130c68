"""What a run will need, from the shapes alone: peak memory, steps, time. Nothing is downloaded and nothing computed.

`eligibility` says whether the run takes our own kernels, and `kernel_memory` adds up their allocations then; else
`step_memory` counts those of one step on fake tensors. What neither sees: the CUDA context (0.3 to 0.6 GiB beside
torch's own figure), the allocator's rounding, and what eager kernels allocate inside. MARGIN stands for the latter two,
fitted to peaks measured on an H100 (docs/speed.md).
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import PretrainedConfig

from curate.selection.record import Selection
from finetune.batches.dataset import build_plan, encode_rows
from finetune.config import RunConfig
from finetune.memory import kernel_memory
from finetune.memory.eligibility import kernel_obstacle, place_meant
from finetune.memory.shapes import layer_count, load_shape
from finetune.memory.spread_memory import bucket_bytes, config_of_one, spread_bytes
from finetune.memory.step_memory import packed_bytes, step_bytes
from finetune.memory.targets import Targets, find_targets
from finetune.model import resolve_device, resolve_dtype
from finetune.parallel.layout import ONE, Layout, layout_of
from finetune.run.record import readable_runs
from finetune.run.tokenizer import load_training_tokenizer

MARGIN = 1.015  # the largest shortfall of the sums, 1.2 % (docs/speed.md), and a little
GIB = 2**30
DEPTHS = (2, 4)  # layers of the small models; even, so that both kinds of layer of families that alternate are seen


@dataclass(frozen=True)
class Forecast:
    """Peak memory of each GPU in GiB with its parts, and what a step computes on all of them."""

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


def plan_run(config: RunConfig, selection: Selection | None, layout: Layout = ONE) -> dict[str, Any]:
    """The forecast for each GPU of `layout`, with what the rows add: steps, tokens, seconds. None: it cannot be known.

    `seconds` goes by the newest finished run here of the same model on as many GPUs; `seconds_at_least` by this
    machine's own products.
    """
    shape = load_shape(config.model)
    result = forecast(config, shape, layout=layout).as_dict() | layout.as_record()
    result["peak_gib_with_checkpointing"] = forecast(config, shape, True, layout).peak_gib
    result |= {"steps": None, "tokens": None, "seconds": None, "seconds_at_least": None}
    if selection is None:
        return result

    tokenizer = load_training_tokenizer(config.model, selection)
    plan = build_plan(encode_rows(tokenizer, selection, selection.selected), config)
    tokens = plan.tokens
    result |= {"steps": plan.max_steps, "tokens": tokens}
    speed = measured_speed(config.model, layout)
    result["seconds"] = None if speed is None else tokens / speed
    if config.device != "cuda" or _has_gpu():
        device = resolve_device(config.device)
        rate = arithmetic_rate(device, resolve_dtype(config.dtype, device))
        result["seconds_at_least"] = tokens * result["flops_per_token"] / rate / layout.size
    return result


def _has_gpu() -> bool:
    return torch.cuda.is_available()


def measured_speed(model: str, layout: Layout = ONE) -> float | None:
    """Median tokens per second of the newest finished run of `model` in that layout here; None when there is none."""
    for run in readable_runs():
        rates = [line["tokens_per_second"] for line in run.timings if line["tokens_per_second"]]
        alike = layout_of(run.manifest.config).as_record() == layout.as_record()
        if run.config.model == model and alike and rates:
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


def forecast(
    config: RunConfig, shape: PretrainedConfig, checkpointing: bool | None = None, layout: Layout = ONE
) -> Forecast:
    """The forecast for one step of `config` on a model of `shape`, for each GPU of `layout`.

    `checkpointing` None takes the config's, and for "auto" False: what the run needs when nothing is recomputed.
    """
    if checkpointing is None:
        checkpointing = config.gradient_checkpointing is True
    step_bins = config.per_device_train_batch_size * config.gradient_accumulation_steps
    config = config_of_one(config, layout)
    place, targets = place_meant(config), find_targets(config, shape)
    dtype: torch.dtype = getattr(torch, place.dtype)
    if kernel_obstacle(config, shape, place, targets.sizes) is None:
        margin, quantised = kernel_memory.MARGIN, config.bnb_4bit_use_double_quant
        parts = kernel_memory.peak_bytes(
            config, shape, targets, lambda n: packed_bytes(n, quantised), checkpointing, dtype.itemsize,
            keeps_weights=layout.shards == 1,
        )  # fmt: skip
    else:
        margin, parts = MARGIN, _library_bytes(config, shape, targets, checkpointing, dtype)
    weights = targets.weights(config.r)
    parts |= {"adapter": 4 * sum(weights), "trainable": sum(weights)}
    spread, gathered = spread_bytes(config, shape, layout, dtype.itemsize)
    parts["base"] -= spread
    parts["moving"] += gathered
    parts["optimizer"] = sum(_optimizer_bytes(matrix, config) for matrix in weights)
    steady = parts["base"] + parts["adapter"] + parts["kept"] + bucket_bytes(sum(weights), layout)
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
        tokens_per_step=step_bins * config.max_length,
        gradient_checkpointing=checkpointing,
        # Forward and backward through frozen weights, 2 each a weight and token; the forward again where recomputed;
        # 6 a trained weight.
        flops_per_token=parts["products"] * (6 if checkpointing else 4) + 6 * parts["trainable"],
    )


def _library_bytes(
    config: RunConfig, shape: PretrainedConfig, targets: Targets, checkpointing: bool, dtype: torch.dtype
) -> dict[str, float]:
    """Return the bytes of each part where the libraries compute, from two small models: layers are alike.

    Below the first layer with an adapter there is no backward pass, and nothing is kept for one.
    """
    kinds, layers = targets.kinds(), layer_count(shape)
    low, high = (step_bytes(config, shape, depth, checkpointing, dtype, kinds) for depth in DEPTHS)

    def at(name: str, depth: int) -> float:
        return low[name] + (high[name] - low[name]) / (DEPTHS[1] - DEPTHS[0]) * (depth - DEPTHS[0])

    parts = {name: at(name, layers) for name in low} | {"kept": 0, "spare": 0}
    parts["moving"] = at("moving", layers - targets.lowest_layer())
    if config.device != "cpu":
        parts["moving"] += kernel_memory.WORKSPACES
    return parts


def _is_paged(config: RunConfig) -> bool:
    """Whether the optimizer's states are paged: in 8 bits, and where the card is full, in the machine's memory."""
    return config.optim == "paged_adamw_8bit" or (config.optim == "auto" and config.device != "cpu")


def _optimizer_bytes(weights: int, config: RunConfig) -> float:
    """Adam's two moments: float32, or 8 bits with a scale per 256 where bitsandbytes keeps them so (4,096 up)."""
    return 2 * weights * (1 + 4 / 256) if _is_paged(config) and weights >= 4096 else 8 * weights
