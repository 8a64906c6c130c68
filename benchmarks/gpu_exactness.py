"""What can only be shown on a GPU: attention in bfloat16, float16 without overflow, a resume to the bit.

    python benchmarks/gpu_exactness.py attention resume               # random models of four layers, about a minute
    python benchmarks/gpu_exactness.py float16 --checkpoint DIR       # see random_checkpoint.py

`attention`: losses and adapter gradients of packed rows in bfloat16, for every implementation and for the kernels; the
error is the distance to float32 with SDPA over its norm, `to_sdpa` its ratio to SDPA's own error in bfloat16; `leak` is
the largest change of other samples' losses when one sample changes. `resume`: a run stopped after step 3 and gone on
with from its checkpoint at 2, in deterministic mode, beside one left alone, with dropout and without, with the kernels
and without. `families`: as `attention`, in bfloat16 with the kernels, for norms of q and k, tied embeddings, layers
without positions, windows and the rest of what the kernels compute. `float16`: steps of the `colab-t4` preset.
`trajectory`: losses of ten updates beside those in float32. All but the first want $ROWPICK_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SHAPE = {
    "vocab_size": 2000, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip
# What the kernels compute beside Llama: (model type, what differs from SHAPE).
BROAD: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 3.2: tied": ("llama", {"tie_word_embeddings": True}),
    "Mistral with a window": ("mistral", {"sliding_window": 100}),
    "Qwen2.5: biases, tied": ("qwen2", {"tie_word_embeddings": True}),
    "Qwen3: norms of heads": ("qwen3", {"head_dim": 128}),
    "Qwen3: tied, windows in some layers": (
        "qwen3",
        {"head_dim": 128, "tie_word_embeddings": True, "use_sliding_window": True, "sliding_window": 100,
         "max_window_layers": 2},
    ),
    "SmolLM3: layers without positions, tied": (
        "smollm3", {"no_rope_layer_interval": 2, "pad_token_id": 0, "tie_word_embeddings": True},
    ),
}  # fmt: skip
IMPLEMENTATIONS = ("sdpa", "eager", "flex_attention", "varlen", "kernels")
SAMPLES = (150, 333, 80, 270, 191, 512, 97, 388, 27)


def rows(seed: int = 0) -> list[Any]:
    """Samples of unequal length, of random tokens."""
    import numpy as np

    from curate.tokens.tokenizers import EncodedExample

    rng = np.random.default_rng(seed)
    return [EncodedExample(rng.integers(3, SHAPE["vocab_size"], length).tolist(), length // 3) for length in SAMPLES]


def check_attention(device: str, dtype: str) -> None:
    """One JSON line an implementation."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp())
    LlamaForCausalLM(LlamaConfig(**SHAPE, initializer_range=0.05)).save_pretrained(folder)
    expected = losses_and_gradients(folder, device, "float32", "sdpa")
    sdpa: list[float] = []
    for name in IMPLEMENTATIONS:
        line: dict[str, Any] = {"check": "attention", "implementation": name, "dtype": dtype}
        try:
            found = losses_and_gradients(folder, device, dtype, name)
            errors = [float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)]
            sdpa = sdpa or errors
            line |= {"loss_error": errors[0], "gradient_error": errors[1], "leak": float(found[2].abs().max())}
            line["to_sdpa"] = [round(a / b, 3) for a, b in zip(errors[:2], sdpa, strict=False)]
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {error}"[-800:]
        print(json.dumps(line), flush=True)


def check_families(device: str, dtype: str) -> None:
    """One JSON line a family: the kernels' errors, and as multiples of SDPA's own in the same dtype."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    for family, (kind, more) in BROAD.items():
        line: dict[str, Any] = {"check": "families", "family": family, "dtype": dtype}
        try:
            torch.manual_seed(0)
            folder = Path(tempfile.mkdtemp())
            shape = AutoConfig.for_model(kind, **(SHAPE | more), initializer_range=0.05)
            model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
            for name, parameter in model.named_parameters():
                if "norm" in name or name.endswith("bias"):  # as trained models have them, not all ones and zeros
                    parameter.data += 0.2 * torch.randn_like(parameter)
            model.save_pretrained(folder)
            expected = losses_and_gradients(folder, device, "float32", "sdpa")
            for name in ("sdpa", "kernels"):
                found = losses_and_gradients(folder, device, dtype, name)
                errors = [float((a - b).norm() / b.norm()) for a, b in zip(found[:2], expected[:2], strict=True)]
                line |= {name: errors, f"{name}_leak": float(found[2].abs().max())}
            line["to_sdpa"] = [round(a / b, 3) for a, b in zip(line["kernels"], line["sdpa"], strict=True) if b]
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {error}"[-800:]
        print(json.dumps(line), flush=True)


def losses_and_gradients(folder: Path, device: str, dtype: str, implementation: str) -> tuple[Any, Any, Any]:
    """(losses, adapter gradients in one vector, change of the other samples' losses when the first changes)."""
    import torch

    from finetune.batches.packing import build_packed_batch
    from finetune.batches.token_loss import token_nll
    from finetune.config import load_config
    from finetune.kernels import accelerate_model
    from finetune.model import attach_adapter, load_base_model

    attention = "sdpa" if implementation == "kernels" else implementation
    config = load_config(
        None, model=str(folder),
        overrides=[f"device={device}", f"dtype={dtype}", f"attn_implementation={attention}", "load_in_4bit=false",
                   f"kernels={str(implementation == 'kernels').lower()}"],
    )  # fmt: skip
    model = attach_adapter(load_base_model(config), config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    accelerate_model(model, config, getattr(torch, dtype))
    model.train()
    examples = rows()
    batch = build_packed_batch([examples[:4], examples[4:]], 0)
    batch = {key: value.to(device) for key, value in batch.items()}
    with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
        nll, samples = token_nll(model, batch)
    torch.autograd.backward(nll.sum())
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    first = batch["sample_ids"] == 0
    batch["input_ids"] = torch.where(first, batch["input_ids"].flip(1) % 900 + 5, batch["input_ids"])
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
        changed, _ = token_nll(model, batch)
    other = samples != 0
    return nll.detach().float(), gradients.float(), (changed - nll.detach())[other].float()


def check_trajectory(device: str, checkpoint: Path, steps: int = 10, length: int = 1024) -> None:
    """One JSON line a way of computing: losses of `steps` updates on the same batches, and the first gradients' errors.

    float32 is the checkpoint dequantised, without autocast; peft is what TRL trains, under bfloat16 autocast; with
    float32-sum, the same but for one rounding (see `add_in_float32`).
    """
    import torch
    from bitsandbytes.optim import PagedAdamW8bit

    from benchmarks.qlora_step import add_in_float32, joined
    from curate.tokens.tokenizers import EncodedExample
    from finetune.batches.packing import build_packed_batch
    from finetune.batches.token_loss import token_nll
    from finetune.config import load_config
    from finetune.kernels import accelerate_model
    from finetune.model import attach_adapter, load_base_model

    rows = [EncodedExample(row, 0) for row in joined(checkpoint, Path(os.environ["ROWPICK_DATA"]), length, 2 * steps)]
    reference: dict[str, Any] = {}
    for kind in ("float32", "peft", "peft-float32-sum", "kernels"):
        settings = [f"kernels={str(kind == 'kernels').lower()}", f"device={device}", "dtype=bfloat16"]
        config = load_config(None, model=str(checkpoint), overrides=settings)
        base = load_base_model(config)
        model = attach_adapter(base.dequantize().float() if kind == "float32" else base, config)
        accelerate_model(model, config, torch.bfloat16)
        if kind == "peft-float32-sum":
            add_in_float32(model)
        trained = {name: p for name, p in model.train().named_parameters() if p.requires_grad}
        optimizer = PagedAdamW8bit(trained.values(), lr=2e-4)
        losses, errors = [], {}
        for step in range(steps):
            batch = build_packed_batch([[row] for row in rows[2 * step : 2 * step + 2]], 0)
            with torch.autocast(device, torch.bfloat16, enabled=kind != "float32"):
                nll, _ = token_nll(model, {key: value.to(device) for key, value in batch.items()})
            torch.autograd.backward(nll.float().mean())
            losses.append(float(nll.detach().mean()))
            if step == 0:
                gradients = {name: p.grad.float().cpu() for name, p in trained.items() if "lora_B" in name}
                reference = reference or gradients
                errors = {n: float((g - reference[n]).norm() / reference[n].norm()) for n, g in gradients.items()}
            torch.nn.utils.clip_grad_norm_(list(trained.values()), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        mean = sum(errors.values()) / len(errors)
        print(json.dumps({"check": "trajectory", "kind": kind, "losses": losses, "gradient_error": mean}), flush=True)
        del base, model, optimizer, trained


def build_job(folder: Path, checkpoint: Path, settings: list[str], count: int, eval_count: int) -> Any:
    """A training job over random rows, without a selection on disk."""
    from curate.tokens.tokenizers import load_tokenizer
    from finetune.batches.dataset import build_plan
    from finetune.config import load_config
    from finetune.run.history import History
    from finetune.run.job import Job

    preset = settings.pop(0) if settings and "=" not in settings[0] else None
    config = load_config(preset, overrides=[f"model={checkpoint}", *settings])
    examples = [example for seed in range(count) for example in rows(seed)]
    selection: Any = SimpleNamespace(digest="benchmark")
    evaluated = rows(10**6)[:eval_count]
    tokenizer = load_tokenizer("benchmark", str(Path(os.environ["ROWPICK_DATA"]) / "llama2-tokenizer"))
    return Job(config, selection, folder, tokenizer, 0, build_plan(examples, config), evaluated, History(folder))


def run_job(job: Any, stop_after: int | None = None, resume: bool = False) -> Any:
    """The trainer after training; `stop_after` kills it at the end of that step, before anything of it is written."""
    from transformers import TrainerCallback

    from finetune.recipe import run_steps
    from finetune.tracking.table import NONE
    from finetune.trainer import build_trainer

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == stop_after:
                raise KeyboardInterrupt

    trainer = build_trainer(job)
    trainer.add_callback(Stop())
    try:
        run_steps(job, trainer, NONE, resume)
    except KeyboardInterrupt:
        if stop_after is None:
            raise
    return trainer


def check_resume(device: str) -> None:
    """One JSON line a way: whether adapters and histories are equal to the bit, and the peaks."""
    from benchmarks.random_checkpoint import write_checkpoint

    checkpoint = Path(tempfile.mkdtemp())
    write_checkpoint(checkpoint, SHAPE | {"rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2}, device)
    settings = [
        "deterministic=true", "max_length=1024", "per_device_train_batch_size=2", "gradient_accumulation_steps=2",
        "max_steps=6", "num_train_epochs=50", "logging_steps=1", "eval_steps=2", "warmup_steps=1", "dtype=bfloat16",
        f"device={device}", "optim=paged_adamw_8bit",
    ]  # fmt: skip
    for dropout, kernels in ((0.0, "true"), (0.1, "true"), (0.1, "false")):
        _check_resume(device, checkpoint, [*settings, f"kernels={kernels}", f"lora_dropout={dropout}"])


def _check_resume(device: str, checkpoint: Path, settings: list[str]) -> None:
    import gc

    import torch

    folders = {name: Path(tempfile.mkdtemp()) for name in ("alone", "again", "stopped")}
    results: dict[str, Any] = {}
    for name, stop, resume in (
        ("alone", None, False),
        ("again", None, False),
        ("stopped", 3, False),
        ("stopped", None, True),
    ):
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        job = build_job(folders[name], checkpoint, list(settings), 3, 4)
        trainer = run_job(job, stop, resume)
        adapter = {n: p.detach().cpu().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
        peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
        results[f"{name}{' resumed' if resume else ''}"] = (adapter, list(job.history.lines), peak)
        del trainer, job

    def same(a: str, b: str) -> dict[str, Any]:
        (one, lines, peak), (two, others, other_peak) = results[a], results[b]
        unequal = sum(not torch.equal(one[key], two[key]) for key in one)
        return {
            "unequal_matrices": unequal,
            "of": len(one),
            "history_equal": lines == others,
            "peaks_gib": [peak, other_peak],
        }

    print(json.dumps({"check": "resume", "device": device, "settings": settings[-2:],
                      "resumed": same("alone", "stopped resumed"), "repeated": same("alone", "again")}),
          flush=True)  # fmt: skip


def check_float16(device: str, checkpoint: Path) -> None:
    """One JSON line: losses, the gradient scaler's state and the adapter's dtype after steps of `colab-t4`."""
    import torch

    job = build_job(
        Path(tempfile.mkdtemp()), checkpoint,
        ["colab-t4", "max_steps=6", "num_train_epochs=50", "logging_steps=1", "eval_steps=1000", "warmup_steps=0",
         "max_length=512"], 8, 0,
    )  # fmt: skip
    trainer = run_job(job)
    scaler = trainer.accelerator.scaler
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    print(json.dumps({
        "check": "float16", "kernels": job.kernels_refused,
        "losses": [line["train_loss"] for line in job.history.lines],
        "scale": None if scaler is None else scaler.get_scale(),
        "adapter_dtypes": sorted({str(p.dtype) for p in trained}),
        "finite": all(bool(torch.isfinite(p).all()) for p in trained),
        "changed": sum(bool(p.abs().max() > 0) for n, p in trainer.model.named_parameters() if "lora_B" in n),
    }), flush=True)  # fmt: skip


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="+", choices=["attention", "families", "resume", "float16", "trajectory"])
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "attention" in args.checks:
        check_attention(device, "bfloat16")
    if "families" in args.checks:
        check_families(device, "bfloat16")
    if "float16" in args.checks:
        check_float16(device, args.checkpoint)
    if "trajectory" in args.checks:
        check_trajectory(device, args.checkpoint)
    if "resume" in args.checks:
        check_resume(device)


if __name__ == "__main__":
    main()
