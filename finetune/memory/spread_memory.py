"""What sharing a run changes in the memory of each GPU: smaller batches, spread weights, buckets of gradients."""

from __future__ import annotations

from transformers import PretrainedConfig

from finetune.config import RunConfig
from finetune.memory.shapes import build_empty_model
from finetune.parallel.layout import Layout
from finetune.parallel.processes import batch_shape

GATHERED_LAYERS = 2  # whose weights are there at once: the one at work, and the next one on its way


def config_of_one(config: RunConfig, layout: Layout) -> RunConfig:
    """Return the settings as one process computes them: its share of every step's bins."""
    batch, accumulation = batch_shape(config, layout.size)
    return config.model_copy(update={"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation})


def layer_matrices(shape: PretrainedConfig) -> list[int]:
    """Return the number of weights in the matrices of each decoder layer: what FSDP spreads."""
    empty = build_empty_model(shape)
    names = set(empty._no_split_modules or ())
    layers = [module for module in empty.modules() if type(module).__name__ in names]
    return [sum(p.numel() for p in layer.parameters() if p.dim() > 1) for layer in layers]


def spread_bytes(config: RunConfig, shape: PretrainedConfig, layout: Layout, number_bytes: int) -> tuple[float, float]:
    """Return (bytes of frozen weights that a GPU does without, bytes of gathered layers that it holds for a while).

    The scales of 4-bit weights are not spread: they stay with their layers.
    """
    if layout.shards == 1:
        return 0.0, 0.0
    layers = [weights * (0.5 if config.load_in_4bit else number_bytes) for weights in layer_matrices(shape)]
    return sum(layers) * (1 - 1 / layout.shards), GATHERED_LAYERS * max(layers, default=0.0)


def bucket_bytes(trained: int, layout: Layout) -> int:
    """Return the bytes in which DDP adds up the gradients of `trained` weights, beside the gradients themselves."""
    return 4 * trained if layout.size > 1 else 0
