"""Whether the kernels can compute a run: one answer for the run itself, its forecast and its check."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from finetune.attention import can_slide
from finetune.config import RunConfig
from finetune.model import resolve_dtype

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
ATTENTIONS = ("sdpa", "varlen")
PROJECTIONS = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
NO_GPU = "there is no GPU"
OLDEST_CARD = (8, 0)  # Ampere: the first with bfloat16
NARROWEST_HEAD = 32  # half a head is the shortest side of a product, which on the card is 16 at least


@dataclass(frozen=True)
class Place:
    """Where a run computes, and in which dtype. A card that is not here to be asked is taken to fit."""

    device: str  # "cuda" or "cpu"
    dtype: str
    capability: tuple[int, int] | None = None
    has_triton: bool = True


def place_here(device: str, dtype: str) -> Place:
    """Return the place of a run on `device` of this machine."""
    capability = torch.cuda.get_device_capability() if device == "cuda" else None
    return Place(device, dtype, capability, importlib.util.find_spec("triton") is not None)


def place_meant(config: RunConfig) -> Place:
    """Return the place that `config` asks for: the GPU here, or, where there is none, one that suits it.

    Only device=cpu means the CPU: a forecast with device=auto is asked for on the machine that has no card.
    """
    if config.device == "cpu":
        return Place("cpu", resolve_dtype(config.dtype, "cpu"))
    if torch.cuda.is_available():
        return place_here("cuda", resolve_dtype(config.dtype, "cuda"))
    return Place("cuda", "bfloat16" if config.dtype in ("auto", "fastest") else config.dtype)


def kernel_obstacle(config: RunConfig, shape: PretrainedConfig, place: Place, adapted: Collection[str]) -> str | None:
    """Return why the kernels cannot compute a model of `shape`, in a few words; None where they can.

    `adapted` are the names of the modules with an adapter; what stands before the last dot does not matter.
    """
    if config.kernels is False:
        return "kernels: false"
    window = getattr(shape, "sliding_window", None)
    on_gpu = place.device == "cuda"
    if config.use_dora:
        return "DoRA scales what the adapters add in a way they do not compute"
    if on_gpu and torch.version.hip:
        return "they are for CUDA; on ROCm transformers computes"
    if on_gpu and not (place.has_triton and (place.capability is None or place.capability >= OLDEST_CARD)):
        return "they need Triton and a card of compute capability 8.0 or newer"
    if not on_gpu and config.kernels == "auto":
        return NO_GPU
    if on_gpu and place.dtype != "bfloat16":
        return f"they compute in bfloat16, not in {place.dtype}"
    if shape.model_type not in MODEL_TYPES or shape.hidden_act != "silu":
        return f"{shape.model_type} is not one of {', '.join(MODEL_TYPES)} with SwiGLU"
    short = window is not None and window < config.max_length and getattr(shape, "use_sliding_window", True)
    if short and not can_slide(place.device):
        return f"the model's sliding window of {window} is shorter than max_length {config.max_length}"
    if shape.attention_dropout or config.attn_implementation not in ATTENTIONS:
        return "they bring their own attention, without dropout"
    width = head_width(shape)
    if on_gpu and (width & (width - 1) or width < NARROWEST_HEAD):
        return f"heads of {width} features are no power of two from {NARROWEST_HEAD} up"
    foreign = {name.rpartition(".")[2] for name in adapted} - PROJECTIONS
    return f"adapters stand on {', '.join(sorted(foreign))}" if foreign else None


def head_width(shape: PretrainedConfig) -> int:
    """Return the number of features of one attention head."""
    return int(getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads)
