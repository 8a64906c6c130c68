"""TRL's SFTTrainer with accelerate's FSDP on the batches of `distributed.py`, as a careful user sets it up."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any


def store_as(model: Any, dtype: Any) -> None:
    """What loading with `bnb_4bit_quant_storage` does: FSDP shards floating types alone."""
    import torch

    for module in model.modules():
        if getattr(module, "quant_state", None) is not None:
            numbers = module.weight.data.contiguous().flatten().view(torch.uint8).view(dtype)[:, None]
            module.weight.data = numbers
            module.weight.quant_storage = module.quant_storage = dtype
    model.hf_quantizer.quantization_config.bnb_4bit_quant_storage = dtype


def run_trl(case: str, folder: Path, place: Path, tiny: bool, processes: Any) -> dict[str, Any]:
    """Train the case's steps by TRL; what one process saw of it."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from benchmarks.distributed import CASES, WARM, build_config, build_job
    from benchmarks.repeated_layer import load_model
    from finetune.model import attach_adapter
    from finetune.parallel.processes import batch_shape

    on_gpu = torch.cuda.is_available() and not tiny
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    config = build_config(case, folder, tiny)
    steps, (batch, accumulation) = config.max_steps, batch_shape(config, processes.size)
    warm = min(WARM, steps // 2)
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if on_gpu and state.global_step == 0:
                torch.cuda.reset_peak_memory_stats()  # the weights are spread by now

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in (warm, steps):
                if on_gpu:
                    torch.cuda.synchronize()
                times.append(time.perf_counter())

    job = build_job(config, place, processes)
    begun = time.perf_counter()
    model = load_model(config)
    model.config.use_cache = False
    store_as(model, torch.bfloat16)
    model = attach_adapter(model, config)
    settings = SFTConfig(
        output_dir=str(place), per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
        max_steps=steps, logging_steps=1, max_length=config.max_length, learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler_type, warmup_steps=1, report_to="none", bf16=True, use_cpu=not on_gpu,
        gradient_checkpointing=False, save_strategy="no", disable_tqdm=True, seed=0,
        optim="adamw_torch_fused" if on_gpu else "adamw_torch",  # bitsandbytes' takes no parameters that are spread
        fsdp=True,
        fsdp_config={
            "version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "reshard_after_forward": True,
            "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
            "activation_checkpointing": CASES[case][5] == "true",
        },
    )  # fmt: skip
    rows = Dataset.from_dict({"input_ids": [example.input_ids for example in job.plan.examples]})
    trainer = SFTTrainer(model=model, args=settings, train_dataset=rows, processing_class=job.tokenizer)
    loading = time.perf_counter() - begun
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    trainer.add_callback(Clock())
    trainer.train()
    step_tokens = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.max_length
    spread = [type(p.data).__name__ for p in trainer.model.parameters() if not p.requires_grad and p.dim() > 1]
    return {
        "tokens_per_second": round(step_tokens * (steps - warm) / (times[-1] - times[0])),
        "train_losses": [line["loss"] for line in trainer.state.log_history if "loss" in line], "eval_losses": [],
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3) if on_gpu else None,
        "distributed_type": str(trainer.accelerator.distributed_type),
        "spread": f"{spread.count('DTensor')}/{len(spread)}",
        "loading_seconds": round(loading, 1), "case_seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip
