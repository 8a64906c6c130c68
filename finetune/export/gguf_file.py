"""A merged model as one GGUF file, the format of llama.cpp and Ollama."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import (
    GGML_QUANT_VERSION,
    MODEL_ARCH,
    MODEL_ARCH_NAMES,
    MODEL_TENSOR,
    TENSOR_NAMES,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    get_tensor_name_map,
)
from gguf.quants import quantize
from numpy.typing import NDArray
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from curate.errors import UserError
from curate.tokens.prompt import PromptTemplate
from finetune.export.gguf_tokenizer import add_tokenizer
from finetune.export.modelfile import jinja_template

# The families that both llama.cpp and transformers' reader of GGUF files know; Mistral is a Llama to llama.cpp.
ARCHITECTURES = {
    "llama": MODEL_ARCH.LLAMA,
    "mistral": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
    "gemma3_text": MODEL_ARCH.GEMMA3,
}
UNREADABLE = {"smollm3": "transformers' reader of GGUF files does not know it, so that nothing could be compared"}
# What llama.cpp takes for granted of a Gemma 3: every sixth layer sees all; the base of the others' frequencies.
GEMMA3_PATTERN, GEMMA3_WINDOW_BASE = 6, 10000.0
FILE_TYPES = {"f16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0}
BLOCK = 32  # values of a row that share a scale in q8_0
_MERGED = "Use the merged model with transformers or vLLM: finetune merge"


def require_exportable(config: PretrainedConfig) -> None:
    """Raise a `UserError` where no file could be written that computes the same."""
    if config.model_type not in ARCHITECTURES:
        reason = UNREADABLE.get(config.model_type)
        raise UserError(
            f"GGUF files are written of {', '.join(ARCHITECTURES)}; this model is a {config.model_type}"
            f"{f' ({reason})' if reason else ''}.",
            _MERGED,
        )
    if config.model_type == "gemma3_text" and not _is_usual_gemma3(config):
        raise UserError("This Gemma 3 differs from what llama.cpp takes for granted of one.", _MERGED)
    kind = rope_kind(config)
    if kind not in ("default", "llama3"):
        raise UserError(f"The model scales its positions in the way {kind}, which is not written here.", _MERGED)


def rope_kind(config: PretrainedConfig) -> str:
    """Return how a model turns its positions: "default", or the name of a scaling."""
    return str(_rope(config).get("rope_type", "default"))


def _rope(config: PretrainedConfig) -> Mapping[str, Any]:
    """Return the settings of the positions; where layers differ, of those that see everything."""
    rope: Mapping[str, Any] = config.rope_parameters or {}
    whole: Mapping[str, Any] = rope.get("full_attention", rope)
    return whole


def _is_usual_gemma3(config: PretrainedConfig) -> bool:
    """Return whether every sixth layer sees everything, and scale and frequencies are those of the released models."""
    kinds = ["full_attention" if not place % GEMMA3_PATTERN else "sliding_attention" for place in
             range(1, config.num_hidden_layers + 1)]  # fmt: skip
    window = config.rope_parameters["sliding_attention"]
    return (
        list(config.layer_types) == kinds
        and config.query_pre_attn_scalar == config.head_dim
        and window.get("rope_type", "default") == "default"
        and window["rope_theta"] == GEMMA3_WINDOW_BASE
        and not (config.attn_logit_softcapping or config.final_logit_softcapping or config.attention_bias)
    )


def write_gguf(
    path: Path, model: PreTrainedModel, tokenizer: Any, template: PromptTemplate, name: str, quantization: str
) -> None:
    """Write weights, shape, tokenizer and prompt template of a model, its weights rounded to float16, into one file.

    Matrices are float16, or q8_0 where a row has whole blocks; vectors are float32, as llama.cpp wants them.
    """
    config = model.config
    require_exportable(config)
    arch = ARCHITECTURES[config.model_type]
    writer = GGUFWriter(path, MODEL_ARCH_NAMES[arch])
    writer.add_name(name)
    _add_shape(writer, config)
    writer.add_file_type(FILE_TYPES[quantization])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    add_tokenizer(writer, tokenizer, config.vocab_size)
    writer.add_chat_template(jinja_template(template))
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    tied = config.tie_word_embeddings
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and tied:
            continue
        gguf_name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise UserError(f"GGUF has no name for the model's {key}.", _MERGED)
        _add_tensor(writer, gguf_name, _as_stored(key, tensor, config), quantization)
    if rope_kind(config) == "llama3":
        writer.add_tensor(f"{TENSOR_NAMES[MODEL_TENSOR.ROPE_FREQS]}.weight", rope_factors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: GGUFWriter, config: PretrainedConfig) -> None:
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(_rope(config)["rope_theta"])
    if config.model_type == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _as_stored(key: str, tensor: torch.Tensor, config: PretrainedConfig) -> torch.Tensor:
    """Return a tensor as llama.cpp wants it.

    In Llamas it turns neighbouring features, transformers the two halves. Gemma's norms have 1 added to their weights.
    """
    if config.model_type == "gemma3_text" and key.endswith("norm.weight"):
        return tensor.float() + 1
    if ARCHITECTURES[config.model_type] is not MODEL_ARCH.LLAMA:
        return tensor
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(key.split(".")[-2])
    if heads is None:
        return tensor
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _add_tensor(writer: GGUFWriter, name: str, tensor: torch.Tensor, quantization: str) -> None:
    values: NDArray[np.float16] = tensor.detach().cpu().to(torch.float16).contiguous().numpy()
    if not np.isfinite(values).all():
        raise UserError(f"{name} holds numbers that float16 cannot hold.", _MERGED)
    if values.ndim == 1:
        writer.add_tensor(name, tensor.detach().cpu().float().numpy())
    elif quantization == "q8_0" and values.shape[-1] % BLOCK == 0:
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quantize(values.astype(np.float32), kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, values)


def rope_factors(config: PretrainedConfig) -> NDArray[np.float32]:
    """Return by what Llama 3's scaling divides each frequency: shape (head width / 2,)."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    base = config.rope_parameters["rope_theta"]
    plain = 1.0 / base ** (torch.arange(0, width, 2, dtype=torch.int64).float() / width)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    factors: NDArray[np.float32] = (plain / scaled).numpy().astype(np.float32)
    return factors
