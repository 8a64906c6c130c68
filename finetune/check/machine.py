"""Traps in what the machine has: cards, memory, disk."""

from __future__ import annotations

from finetune.check.facts import Facts

GIB = 2**30


def _computes_on_gpu(facts: Facts) -> bool:
    return facts.has_gpu and facts.config.device != "cpu"


def float16_on_a_cpu(facts: Facts) -> str | None:
    """Slow, and without the gradient scaler that keeps it from underflowing."""
    if facts.config.dtype != "float16" or facts.config.device == "cuda" or _computes_on_gpu(facts):
        return None
    return "dtype is float16 and the run is on a CPU. Set dtype=float32."


def float16_overflows(facts: Facts) -> str | None:
    """Models trained in bfloat16 whose activations pass 65,504."""
    if facts.shape is None or facts.config.dtype != "float16" or not facts.shape.model_type.startswith("gemma"):
        return None
    return f"{facts.config.model} overflows in float16. Set dtype=bfloat16 (or float32 on a card without it)."


def bfloat16_absent(facts: Facts) -> str | None:
    """T4 and V100 have no bfloat16."""
    if facts.config.dtype != "bfloat16" or facts.gpu_has_bfloat16 is not False or not _computes_on_gpu(facts):
        return None
    return "dtype is bfloat16 and this card has none. Use --preset colab-t4, or dtype=float16."


def paged_optimizer_without_gpu(facts: Facts) -> str | None:
    """bitsandbytes' paged optimisers need CUDA's unified memory."""
    if facts.config.optim != "paged_adamw_8bit" or _computes_on_gpu(facts):
        return None
    return "optim is paged_adamw_8bit and there is no GPU to page to. Set optim=auto."


def gpu_absent(facts: Facts) -> str | None:
    """Asked for and not there."""
    if facts.config.device != "cuda" or facts.has_gpu:
        return None
    return "device is cuda and there is no GPU that torch can use. Set device=cpu, or use --preset cpu-demo."


def not_enough_memory(facts: Facts) -> str | None:
    """By the forecast, with gradient checkpointing wherever the config allows it."""
    if facts.memory_bytes is None or facts.needed_memory_gib is None:
        return None
    there = facts.memory_bytes / GIB
    if facts.needed_memory_gib <= there:
        return None
    spread = facts.spread_memory_gib
    further = ""
    if spread is not None and spread <= there:
        further = f" With --parallel fsdp each of {facts.layout.size} GPUs needs about {spread:.1f} GiB."
    return (
        f"The run needs about {facts.needed_memory_gib:.1f} GiB and there are {there:.1f}. "
        f"Lower per_device_train_batch_size or max_length, or set gradient_checkpointing=true.{further}"
    )


def not_enough_disk(facts: Facts) -> str | None:
    """Checkpoints hold the adapter and the optimiser's state, two at a time."""
    if facts.free_disk_bytes is None or facts.needed_disk_bytes is None:
        return None
    if facts.needed_disk_bytes <= facts.free_disk_bytes:
        return None
    needed, free = facts.needed_disk_bytes / GIB, facts.free_disk_bytes / GIB
    return f"The run writes about {needed:.1f} GiB and {free:.1f} are free. Free space, or name --out on another disk."
