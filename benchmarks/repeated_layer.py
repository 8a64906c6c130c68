"""Checkpoints that hold one random layer, which every process repeats in its own memory: large models, small files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

SMALL = {
    "vocab_size": 2000, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": False, "rms_norm_eps": 1e-5,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# Checkpoint -> (whose shape, layers; None: all of them)
MODELS = {
    "7b": ("7b", None), "13b": ("13b", None), "70b": ("70b", None), "7b-8-layers": ("7b", 8), "small": (None, None),
}  # fmt: skip


def write_checkpoints(place: Path, tiny: bool) -> None:
    """The checkpoints that are not there yet: for each the shape of the whole, and below it one layer's weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks import random_checkpoint
    from finetune.memory.shapes import load_shape

    for name, (of, layers) in MODELS.items():
        folder = place / name
        if (folder / "config.json").is_file():
            continue
        if of is None:
            torch.manual_seed(0)
            LlamaForCausalLM(LlamaConfig(**SMALL, initializer_range=0.05)).save_pretrained(folder)
            continue
        shape: Any = load_shape(f"meta-llama/Llama-2-{of}-hf")
        if tiny:
            shape = LlamaConfig(**SMALL | {"hidden_size": 128, "num_hidden_layers": 3})
        depth = layers if layers and not tiny else shape.num_hidden_layers
        shape.num_hidden_layers = 1
        random_checkpoint.write_checkpoint(folder / "one", shape, "cpu" if tiny else "cuda")
        whole = json.loads((folder / "one" / "config.json").read_text()) | {"num_hidden_layers": depth}
        (folder / "config.json").write_text(json.dumps(whole))


def load_model(config: Any, place: str | None = None) -> Any:
    """The base model of `config`, whose one layer on disk is repeated as often as its shape says."""
    from finetune import model as module

    folder = Path(config.model)
    if not (folder / "one").is_dir():
        return module.load_base_model(config, place)
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    model: Any = module.load_base_model(config.model_copy(update={"model": str(folder / "one")}), place)
    first = model.model.layers[0]
    for number in range(1, layers):
        layer = copy.deepcopy(first)
        layer.self_attn.layer_idx = number
        for part in layer.modules():
            if getattr(part, "quant_state", None) is not None:
                part.quant_state = part.weight.quant_state
        model.model.layers.append(layer)
    model.config.num_hidden_layers = layers
    model.config.name_or_path = model.name_or_path = config.model
    return model
