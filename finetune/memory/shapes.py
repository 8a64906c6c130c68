"""Shapes of models: a local config.json's, one in the cache, or, for the presets' models, known here."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from curate.defaults import SMOLLM2
from curate.errors import UserError
from curate.loading import NO_OWN_CODE, build_from_shape

# Model -> (transformers' model type, what differs from that type's own defaults). Source: each model's config.json.
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "meta-llama/Llama-2-7b-hf": ("llama", {"max_position_embeddings": 4096}),
    "meta-llama/Llama-2-13b-hf": (
        "llama",
        {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40,
         "num_key_value_heads": 40, "max_position_embeddings": 4096},
    ),
    "meta-llama/Llama-2-70b-hf": (
        "llama",
        {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
         "num_key_value_heads": 8, "max_position_embeddings": 4096},
    ),
    "codellama/CodeLlama-7b-hf": ("llama", {"vocab_size": 32016, "max_position_embeddings": 16384}),
    "mistralai/Mistral-7B-v0.1": (
        "mistral",
        {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "max_position_embeddings": 32768},
    ),
    "Qwen/Qwen2.5-Coder-1.5B": (
        "qwen2",
        {"vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
         "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 32768,
         "tie_word_embeddings": True},
    ),
    "Qwen/Qwen2.5-Coder-7B": (
        "qwen2",
        {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
         "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32768,
         "tie_word_embeddings": False},
    ),
    "google/gemma-2-2b": (
        "gemma2",
        {"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
         "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192},
    ),
    "Qwen/Qwen2.5-Coder-0.5B": (
        "qwen2",
        {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
         "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32768,
         "tie_word_embeddings": True},
    ),
    "Qwen/Qwen2.5-Coder-3B": (
        "qwen2",
        {"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
         "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 32768,
         "tie_word_embeddings": True},
    ),
    "Qwen/Qwen3-0.6B-Base": (
        "qwen3",
        {"vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
         "num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 32768,
         "tie_word_embeddings": True, "head_dim": 128},
    ),
    "Qwen/Qwen3-1.7B-Base": (
        "qwen3",
        {"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
         "num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 32768,
         "tie_word_embeddings": True, "head_dim": 128},
    ),
    "Qwen/Qwen3-4B-Base": (
        "qwen3",
        {"vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
         "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768,
         "tie_word_embeddings": True, "head_dim": 128},
    ),
    "Qwen/Qwen3-8B-Base": (
        "qwen3",
        {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
         "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768,
         "tie_word_embeddings": False, "head_dim": 128},
    ),
    "meta-llama/Llama-3.1-8B": (
        "llama",
        {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
         "tie_word_embeddings": False},
    ),
    "meta-llama/Llama-3.2-1B": (
        "llama",
        {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
         "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
         "tie_word_embeddings": True, "head_dim": 64},
    ),
    "meta-llama/Llama-3.2-3B": (
        "llama",
        {"vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
         "num_attention_heads": 24, "num_key_value_heads": 8, "max_position_embeddings": 131072,
         "tie_word_embeddings": True, "head_dim": 128},
    ),
    "HuggingFaceTB/SmolLM2-360M": (
        "llama",
        {"vocab_size": 49152, "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32,
         "num_attention_heads": 15, "num_key_value_heads": 5, "max_position_embeddings": 8192,
         "tie_word_embeddings": True},
    ),
    "HuggingFaceTB/SmolLM2-1.7B": (
        "llama",
        {"vocab_size": 49152, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
         "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 8192,
         "tie_word_embeddings": True},
    ),
    "HuggingFaceTB/SmolLM3-3B-Base": (
        "smollm3",
        {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
         "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 65536,
         "tie_word_embeddings": True},
    ),
    "mistralai/Mistral-7B-v0.3": (
        "mistral",
        {"vocab_size": 32768, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768,
         "tie_word_embeddings": False, "sliding_window": None},
    ),
    "google/gemma-3-1b-pt": (
        "gemma3_text",
        {"vocab_size": 262144, "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
         "num_attention_heads": 4, "num_key_value_heads": 1, "max_position_embeddings": 32768,
         "tie_word_embeddings": True, "head_dim": 256, "sliding_window": 512},
    ),
    "openai-community/gpt2": ("gpt2", {}),
    "EleutherAI/gpt-j-6b": ("gptj", {"rotary_dim": 64}),
    SMOLLM2: (
        "llama",
        {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
         "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
         "tie_word_embeddings": True},
    ),
}  # fmt: skip


def load_shape(model: str) -> PretrainedConfig:
    """transformers' config of `model`: a local folder's, a known one, or one in the cache; nothing is downloaded."""
    if not Path(model).is_dir() and model in KNOWN:
        kind, differs = KNOWN[model]
        return AutoConfig.for_model(kind, **differs)
    try:
        return AutoConfig.from_pretrained(model, local_files_only=True, **NO_OWN_CODE)
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{model} asks for code of its own (auto_map), which is never run.",
                "Use a model of a kind that transformers knows.",
            ) from None
        raise UserError(
            f"The shape of {model} is not known here, and it is not in the cache ({type(error).__name__}).",
            "Download its config.json first, or name a local folder.",
        ) from None


def context_length(shape: PretrainedConfig) -> int | None:
    """The longest sequence the model was made for, in tokens; None where its config does not say."""
    length = getattr(shape, "max_position_embeddings", None) or getattr(shape, "n_positions", None)
    return None if length is None else int(length)


def name_of(shape: PretrainedConfig) -> str:
    """What to call the model of a shape in a sentence."""
    return str(getattr(shape, "name_or_path", "") or shape.model_type)


def layer_count(shape: PretrainedConfig) -> int:
    """Number of transformer layers, whatever the family calls it."""
    return int(shape.num_hidden_layers)


def with_layers(shape: PretrainedConfig, layers: int) -> PretrainedConfig:
    """The same shape with another number of layers."""
    changed = copy.deepcopy(shape)
    changed.num_hidden_layers = layers
    if getattr(changed, "layer_types", None):
        changed.layer_types = (list(changed.layer_types) * layers)[:layers]
    return changed


def build_empty_model(shape: PretrainedConfig, attn_implementation: str = "eager") -> PreTrainedModel:
    """The model on the meta device: names and shapes, no memory."""
    with torch.device("meta"):
        return build_from_shape(AutoModelForCausalLM, shape, name_of(shape), attn_implementation=attn_implementation)
