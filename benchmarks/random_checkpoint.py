"""A checkpoint with random weights in a known shape, already in NF4: enough to time training, nothing to download.

    python benchmarks/random_checkpoint.py DIR [--layers 32] [--hidden 4096] [--device cuda]
    python benchmarks/random_checkpoint.py DIR --model Qwen/Qwen3-8B-Base

The weights are drawn and quantised one layer at a time, so that a 7B checkpoint (3.9 GB) takes seconds on a GPU and
every stack that reads it computes with the very same numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LLAMA2_7B = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
}  # fmt: skip
SEED = 0


def write_checkpoint(folder: Path, shape: Any, device: str, tokenizer: Path | None = None) -> None:
    """Write config, weights (bfloat16, linear layers NF4 with double quantisation) and, if given, the tokenizer.

    `shape` is a mapping of Llama's settings or a transformers config of a family whose linear layers are named alike.
    """
    import torch
    from bitsandbytes.functional import quantize_4bit
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

    config = LlamaConfig(**shape) if isinstance(shape, dict) else shape
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(empty).__name__]
    generator = torch.Generator(device).manual_seed(SEED)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in empty.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if "norm" in name:
            tensors[name] = torch.ones(parameter.shape, dtype=torch.bfloat16)
            continue
        drawn = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device)
        drawn.normal_(0, config.initializer_range, generator=generator)
        if "proj.weight" not in name:
            tensors[name] = drawn.cpu()
            continue
        packed, state = quantize_4bit(drawn, blocksize=64, quant_type="nf4", compress_statistics=True)
        tensors[name] = packed.cpu()
        tensors |= {f"{name}.{key}": value.cpu() for key, value in state.as_dict(packed=True).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    written = config.to_dict() | {"quantization_config": quantization.to_dict(), "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(written, default=str))
    if tokenizer is not None:
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", help="of a preset: its shape, instead of Llama 2 7B's")
    parser.add_argument("--layers", type=int, help="default: the shape's own")
    parser.add_argument("--hidden", type=int, default=4096)
    args = parser.parse_args()
    if args.model is not None:
        from finetune.memory.shapes import load_shape

        config = load_shape(args.model)
        if args.layers is not None:
            config.num_hidden_layers = args.layers
            config.layer_types = (getattr(config, "layer_types", None) or [])[: args.layers] or None
        write_checkpoint(args.folder, config, args.device, args.tokenizer)
        return
    ratio = args.hidden / LLAMA2_7B["hidden_size"]
    shape = LLAMA2_7B | {
        "num_hidden_layers": args.layers or 32, "hidden_size": args.hidden,
        "intermediate_size": int(LLAMA2_7B["intermediate_size"] * ratio), "num_attention_heads": int(32 * ratio),
        "num_key_value_heads": int(32 * ratio),
    }  # fmt: skip
    write_checkpoint(args.folder, shape, args.device, args.tokenizer)


if __name__ == "__main__":
    main()
