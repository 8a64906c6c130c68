"""The forecast beside the peak that torch measured, over models, batches, lengths, ranks and ways of computing.

    python benchmarks/forecast_peaks.py            # needs a GPU of 80 GB; about five minutes
    python benchmarks/forecast_peaks.py --held-out
    python benchmarks/forecast_peaks.py --current
    python benchmarks/forecast_peaks.py --forecast-only

One JSON line a config and a summary: the largest error, and the configs whose forecast lies below the measured peak.
Each config runs two whole training steps (every token a target) on random weights.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

LLAMA, MISTRAL, QWEN = "meta-llama/Llama-2-7b-hf", "mistralai/Mistral-7B-v0.1", "Qwen/Qwen2.5-Coder-1.5B"
LLAMA_13B, CODELLAMA = "meta-llama/Llama-2-13b-hf", "codellama/CodeLlama-7b-hf"
QWEN_7B, GEMMA = "Qwen/Qwen2.5-Coder-7B", "google/gemma-2-2b"
QWEN3_8B, LLAMA31_8B, SMOLLM3 = "Qwen/Qwen3-8B-Base", "meta-llama/Llama-3.1-8B", "HuggingFaceTB/SmolLM3-3B-Base"
# model, batch, length, rank, checkpointing, kernels. The forecast's two margins were fitted to these ...
FITTED = [
    (LLAMA, 8, 1024, 16, False, True), (LLAMA, 4, 1024, 16, False, True), (LLAMA, 2, 1024, 16, False, True),
    (LLAMA, 1, 1024, 16, False, True), (LLAMA, 4, 512, 16, False, True), (LLAMA, 8, 512, 64, False, True),
    (LLAMA, 2, 2048, 16, False, True), (LLAMA, 8, 256, 8, False, True), (LLAMA, 8, 1024, 16, True, True),
    (LLAMA, 4, 1024, 16, True, True), (LLAMA, 2, 2048, 16, True, True), (LLAMA, 1, 512, 8, True, True),
    (LLAMA, 16, 1024, 16, True, True), (LLAMA, 1, 1024, 16, False, False), (LLAMA, 2, 1024, 16, False, False),
    (LLAMA, 2, 512, 64, False, False), (LLAMA, 4, 1024, 16, True, False), (LLAMA, 8, 1024, 16, True, False),
    (MISTRAL, 4, 1024, 16, False, True), (MISTRAL, 2, 2048, 32, False, True), (MISTRAL, 8, 1024, 16, True, True),
]  # fmt: skip
# ... and to these, whose measured peaks showed what the sums had left out (a second chunk of logits, masks) ...
ALSO_FITTED = [
    (QWEN, 8, 1024, 16, False, True), (QWEN, 2, 2048, 16, False, True), (QWEN, 8, 1024, 16, True, True),
    (QWEN, 4, 512, 64, True, True), (QWEN, 2, 1024, 16, False, False), (QWEN, 4, 512, 16, True, False),
    (GEMMA, 2, 1024, 16, False, False), (GEMMA, 4, 512, 8, True, False), (GEMMA, 1, 2048, 32, True, False),
    (MISTRAL, 2, 512, 16, True, True), (MISTRAL, 2, 1024, 16, False, False), (MISTRAL, 3, 768, 64, False, True),
    (QWEN_7B, 4, 1024, 16, False, True), (QWEN_7B, 8, 1024, 16, True, True), (QWEN_7B, 1, 2048, 32, True, False),
    (QWEN_7B, 1, 512, 16, False, False),
    (CODELLAMA, 3, 768, 32, False, True), (CODELLAMA, 6, 640, 8, True, True), (CODELLAMA, 1, 1536, 16, False, False),
    (LLAMA_13B, 2, 1024, 16, False, True), (LLAMA_13B, 8, 1024, 16, True, True), (LLAMA_13B, 1, 512, 64, True, False),
    (LLAMA_13B, 1, 1024, 8, False, False),
]  # fmt: skip
# ... but not to these.
HELD_OUT = [
    (LLAMA, 5, 896, 24, False, True), (LLAMA, 2, 1536, 16, True, False),
    (QWEN, 16, 256, 32, False, True), (QWEN, 3, 1024, 8, False, False),
    (QWEN_7B, 2, 768, 8, False, True), (QWEN_7B, 2, 1024, 16, True, False),
    (MISTRAL, 1, 3072, 16, True, True), (MISTRAL, 1, 1024, 64, True, False),
    (GEMMA, 1, 512, 16, False, False), (GEMMA, 2, 768, 64, True, False),
    (CODELLAMA, 12, 384, 48, True, True), (LLAMA_13B, 1, 2048, 32, False, True),
]  # fmt: skip

# Models of today, none of which any margin was fitted to.
CURRENT = [
    (QWEN3_8B, 8, 1024, 16, False, True), (QWEN3_8B, 8, 1024, 16, True, True), (QWEN3_8B, 2, 1024, 64, False, True),
    (QWEN3_8B, 3, 768, 8, False, True), (QWEN3_8B, 4, 2048, 32, True, True), (QWEN3_8B, 2, 1024, 16, True, False),
    (LLAMA31_8B, 8, 1024, 16, False, True), (LLAMA31_8B, 4, 1024, 16, True, True),
    (LLAMA31_8B, 2, 2048, 32, False, True), (LLAMA31_8B, 12, 512, 8, True, True),
    (LLAMA31_8B, 1, 1024, 16, False, False),
    (SMOLLM3, 4, 1024, 16, False, True), (SMOLLM3, 2, 2048, 16, True, True),
]  # fmt: skip


def to_config(model: str, batch: int, length: int, rank: int, checkpointing: bool, kernels: bool) -> Any:
    """The run's config."""
    from finetune.config import load_config

    return load_config(
        None, model=model,
        overrides=[f"per_device_train_batch_size={batch}", f"max_length={length}", f"r={rank}", "dtype=bfloat16",
                   "gradient_accumulation_steps=1", f"gradient_checkpointing={str(checkpointing).lower()}",
                   f"kernels={str(kernels).lower()}", "device=cuda",
                   f"attn_implementation={'eager' if model == GEMMA else 'sdpa'}"],
    )  # fmt: skip


def measure(base: Any, config: Any) -> float:
    """Peak GiB of two steps, and the base model left as it was."""
    import torch
    from bitsandbytes.optim import PagedAdamW8bit

    from finetune.batches.packing import build_packed_batch
    from finetune.batches.token_loss import token_nll
    from finetune.kernels import accelerate_model
    from finetune.model import attach_adapter, build_flat_optimizer

    from curate.tokens.tokenizers import EncodedExample  # isort: skip

    model = attach_adapter(base, config)
    own = accelerate_model(model, config, torch.bfloat16) is None
    if config.gradient_checkpointing and not own:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    options: dict[str, Any] = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    optimizer = build_flat_optimizer(trained, **options) if own else PagedAdamW8bit(trained, **options)
    half = [EncodedExample([5 + i % 900 for i in range(config.max_length // 2)], 0)]
    rows = [half * 2] * config.per_device_train_batch_size  # two samples a row, as packing makes them
    batch = {key: value.cuda() for key, value in build_packed_batch(rows, 0, False).items()}
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        with torch.autocast("cuda", torch.bfloat16):
            nll, _ = token_nll(model, batch)
        torch.autograd.backward(nll.sum().div(nll.numel()))
        del nll
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    peak = torch.cuda.max_memory_allocated() / 2**30
    if config.gradient_checkpointing and not own:
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()
    model.unload()
    for module in base.modules():
        for name in ("forward", "train", "zero_grad", "accepts_nll_labels"):
            module.__dict__.pop(name, None)
    base.config._attn_implementation = "sdpa"
    base.__dict__.pop("peft_config", None)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true", help="only the configs that the margins were not fitted to")
    parser.add_argument("--current", action="store_true", help="only models of today, which no margin was fitted to")
    parser.add_argument("--forecast-only", action="store_true")
    parser.add_argument("--measure-only", action="store_true")
    parser.add_argument("--budget-seconds", type=float, default=480, help="no config is measured after this")
    parser.add_argument("--written", action="append", default=[], help="MODEL=DIR of benchmarks/random_checkpoint.py")
    args = parser.parse_args()
    written = dict(each.split("=", 1) for each in args.written)
    from finetune.memory.forecast import forecast
    from finetune.memory.shapes import load_shape

    started = time.perf_counter()
    name, base, lines = None, None, []
    chosen = CURRENT if args.current else HELD_OUT if args.held_out else [*FITTED, *ALSO_FITTED, *HELD_OUT]
    for settings in sorted(
        chosen, key=lambda settings: (settings[0] not in written, settings[0])
    ):  # each model is made once
        config = to_config(*settings)
        line: dict[str, Any] = dict(
            zip(("model", "batch", "length", "rank", "checkpointing", "kernels"), settings, strict=True)
        )
        if not args.measure_only:
            line["forecast_gib"] = round(forecast(config, load_shape(config.model)).peak_gib, 3)
        if not args.forecast_only and time.perf_counter() - started < args.budget_seconds:
            import torch

            from benchmarks.random_checkpoint import write_checkpoint
            from finetune.model import load_base_model

            try:
                if name != config.model:
                    base = None
                    gc.collect()
                    torch.cuda.empty_cache()
                    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
                        source = written.get(config.model, folder)
                        if source == folder:
                            write_checkpoint(Path(folder), load_shape(config.model), "cuda")
                        base = load_base_model(config.model_copy(update={"model": source}))
                    base.config.name_or_path = base.name_or_path = name = config.model
                line["measured_gib"] = round(measure(base, config), 3)
            except Exception as error:
                line["error"] = f"{type(error).__name__}: {error}"[-400:]
                name = None
            gc.collect()
            torch.cuda.empty_cache()
        if "forecast_gib" in line and "measured_gib" in line:
            line["error_share"] = round(line["forecast_gib"] / line["measured_gib"] - 1, 4)
        line["held_out"] = settings in [*HELD_OUT, *CURRENT]
        lines.append(line)
        print(json.dumps(line), flush=True)
    for which in (True, False):
        errors = [line["error_share"] for line in lines if "error_share" in line and line["held_out"] == which]
        if errors:
            print(json.dumps({
                "summary": "forecast_peaks", "held_out": which, "configs": len(errors), "smallest_error": min(errors),
                "largest_error": max(errors), "within_5_percent": sum(abs(e) <= 0.05 for e in errors),
                "below_the_peak": sum(e < 0 for e in errors),
            }))  # fmt: skip


if __name__ == "__main__":
    main()
