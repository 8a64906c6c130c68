"""One model on two GPUs: tokens per second and losses beside one GPU's, peaks a GPU beside the forecast.

    python benchmarks/distributed.py            # two H100s, about three minutes
    python benchmarks/distributed.py --tiny     # two processes on a CPU, to see that it runs

Random NF4 weights in the shapes of Llama 2 7B and 13B, rows of random words that fill their bins. One JSON line a case,
then a summary. Each group of cases has its own process or processes; those of one GPU run side by side, one a card.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WARM = 4
SMALL = {
    "vocab_size": 2000, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": False, "rms_norm_eps": 1e-5,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# name -> (checkpoint, bins a batch and batches a step of one GPU, length, rank, checkpointing, kernels, steps)
CASES: dict[str, tuple[str, int, int, int, int, bool, bool, int]] = {
    "small": ("small", 2, 2, 256, 16, False, False, 8),
    "7b": ("7b", 8, 2, 1024, 16, False, True, 12),
    "7b-checkpointing": ("7b", 8, 2, 1024, 16, True, True, 4),
    "7b-short": ("7b", 4, 2, 512, 64, False, True, 4),
    "7b-long": ("7b", 2, 2, 2048, 32, True, True, 4),
    "7b-libraries": ("7b", 4, 2, 1024, 16, True, False, 4),
    "13b": ("13b", 4, 2, 1024, 16, False, True, 8),
    "13b-checkpointing": ("13b", 8, 2, 1024, 16, True, True, 4),
    "13b-through-memory": ("13b", 4, 2, 512, 16, True, True, 4),
    "13b-libraries": ("13b", 2, 2, 1024, 8, True, False, 4),
}
GROUPS: dict[str, tuple[int, str, list[str]]] = {
    "one-7b": (1, "ddp", ["small", "7b"]),
    "one-13b": (1, "ddp", ["13b"]),
    "two-ddp": (2, "ddp", ["7b", "small", "7b-checkpointing", "7b-short"]),
    "two-fsdp": (2, "fsdp", ["13b", "7b", "small", "7b-long", "7b-short", "13b-through-memory", "13b-libraries",
                             "7b-libraries", "13b-checkpointing", "7b-checkpointing"]),
}  # fmt: skip


def build_config(case: str, folder: Path, tiny: bool) -> Any:
    """The run's config; with `tiny` the same in a size for a CPU."""
    from finetune.config import load_config

    model, batch, accumulation, length, rank, checkpointing, kernels, steps = CASES[case]
    if tiny:
        length, steps = 32, 2
    small = ["load_in_4bit=false", "dtype=float32", "optim=adamw_torch"] if model == "small" else ["dtype=bfloat16"]
    return load_config(
        None, model=str(folder / model),
        overrides=[f"per_device_train_batch_size={batch}", f"gradient_accumulation_steps={accumulation}",
                   f"max_length={length}", f"r={rank}", f"gradient_checkpointing={str(checkpointing).lower()}",
                   f"kernels={str(kernels).lower()}", f"max_steps={steps}", "num_train_epochs=1000", "warmup_steps=1",
                   f"logging_steps={min(4, steps)}", f"eval_steps={steps}", "eval_rows=4",
                   f"device={'cpu' if tiny else 'cuda'}", *small],
    )  # fmt: skip


def build_job(config: Any, folder: Path, processes: Any) -> Any:
    """A job over rows that fill their bins, without a selection on disk."""
    import numpy as np
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    from curate.tokens.tokenizers import EncodedExample
    from finetune.batches.dataset import build_plan
    from finetune.run.history import History
    from finetune.run.job import Job

    words = Tokenizer(WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )
    rng = np.random.default_rng(0)
    count = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.max_steps
    ids = 3 + rng.zipf(1.3, (count + 4, config.max_length)) % 900
    rows = [EncodedExample(row.tolist(), 0) for row in ids]
    selection: Any = SimpleNamespace(digest="benchmark")
    plan = build_plan(rows[:count], config)
    return Job(config, selection, folder, tokenizer, 0, plan, rows[count:], History(folder, processes.first), processes)


def run_case(case: str, folder: Path, place: Path, tiny: bool, processes: Any) -> dict[str, Any]:
    """Train the case's steps; what one process saw of it."""
    import torch
    from transformers import TrainerCallback

    from finetune import trainer as module
    from finetune.recipe import run_steps
    from finetune.tracking.table import NONE
    from finetune.trainer import build_trainer

    if case.endswith("through-memory"):
        module.fits_whole = lambda config: False
    on_gpu = torch.cuda.is_available() and not tiny
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in (min(WARM, args.max_steps - 1), args.max_steps):
                if on_gpu:
                    torch.cuda.synchronize()
                times.append(time.perf_counter())

    gc.collect()
    left_over = 0.0
    if on_gpu:
        torch.cuda.empty_cache()
        left_over = torch.cuda.memory_allocated() / 2**30
    config = build_config(case, folder, tiny)
    job = build_job(config, place, processes)
    begun = time.perf_counter()
    trainer = build_trainer(job)
    loading = time.perf_counter() - begun
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer.add_callback(Clock())
    run_steps(job, trainer, NONE)
    step_tokens = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.max_length
    timed = config.max_steps - min(WARM, config.max_steps - 1)
    return {
        "tokens_per_second": round(step_tokens * timed / (times[-1] - times[0])),
        "train_losses": [line["train_loss"] for line in job.history.lines if line["train_loss"] is not None],
        "eval_losses": [line["eval_loss"] for line in job.history.lines if line["eval_loss"] is not None],
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3) if on_gpu else None,
        "left_over_gib": round(left_over, 3), "kernels": job.kernels_refused or "used",
        "loading_seconds": round(loading, 1), "case_seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip


def run_group(group: str, folder: str, tiny: bool, deadline: float, processes: Any) -> None:
    """Every case of a group in this process, one of `processes`; the first prints them."""
    from curate.errors import UserError
    from finetune.parallel.processes import process_group

    _, parallel, cases = GROUPS[group]
    processes.use_own_gpu()
    with process_group("cpu" if tiny else "cuda"):
        for case in cases:
            if processes.any(time.time() > deadline):
                break
            place = Path(folder) / "runs" / group / case
            line: dict[str, Any] = {"group": group, "gpus": processes.size, "parallel": parallel, "case": case}
            place.mkdir(parents=True, exist_ok=True)
            try:
                line |= run_case(case, Path(folder), place, tiny, processes)
            except (UserError, RuntimeError, ValueError) as error:
                line["error"] = f"{type(error).__name__}: {error}"[-1500:]
            failed = processes.any("error" in line)
            line["peaks_gib"] = processes.gather(line.get("peak_gib"))
            if processes.first:
                print(json.dumps(line), flush=True)
            if failed and processes.size > 1:
                break  # the processes may stand at different places


def start_group(group: str, args: argparse.Namespace) -> None:
    """This group in this process, or, of several GPUs, in as many new ones."""
    import benchmarks.distributed as module
    from finetune.parallel.launch import launch
    from finetune.parallel.layout import Layout
    from finetune.parallel.processes import ALONE

    size, parallel, _ = GROUPS[group]
    work = (group, str(args.folder), args.tiny, args.deadline)
    if size == 1:
        module.run_group(*work, ALONE)
    else:
        launch(module.run_group, Layout(size, "fsdp" if parallel == "fsdp" else "ddp"), group, work)


def write_checkpoint(name: str, args: argparse.Namespace) -> None:
    """One random checkpoint, written where the groups look for it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks import random_checkpoint
    from finetune.memory.shapes import load_shape

    if name == "small":
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**SMALL, initializer_range=0.05)).save_pretrained(args.folder / name)
        return
    shape: Any = SMALL | {"num_hidden_layers": 2, "hidden_size": 128}
    if not args.tiny:
        shape = load_shape(f"meta-llama/Llama-2-{name}-hf")
    random_checkpoint.write_checkpoint(args.folder / name, shape, "cpu" if args.tiny else "cuda")


def in_own_process(args: argparse.Namespace, card: int | None, *words: str) -> subprocess.Popen[str]:
    """This script again, on one card or on all."""
    command = [sys.executable, __file__, "--folder", str(args.folder), "--deadline", str(args.deadline), *words]
    if args.tiny:
        command.append("--tiny")
    environment = dict(os.environ) if card is None else os.environ | {"CUDA_VISIBLE_DEVICES": str(card)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def collect(processes: list[subprocess.Popen[str]], limit: float) -> list[dict[str, Any]]:
    """The JSON lines of processes that run side by side, printed; the end of what a failed one said."""
    lines = []
    for process in processes:
        try:
            out, err = process.communicate(timeout=max(1.0, limit - time.time()))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        lines += [json.loads(line) for line in out.splitlines() if line.startswith('{"group"')]
        if process.returncode:
            print(json.dumps({"failed": process.args, "rc": process.returncode, "stderr": err[-3000:]}), flush=True)
    for line in lines:
        print(json.dumps(line), flush=True)
    return lines


def summarise(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Speed on two GPUs over one's, and the largest distance of their losses."""
    whole = {(line["group"], line["case"]): line for line in lines if "error" not in line}
    summary: dict[str, Any] = {"summary": "distributed"}
    for one, case in (("one-7b", "small"), ("one-7b", "7b"), ("one-13b", "13b")):
        for two in ("two-ddp", "two-fsdp"):
            a, b = whole.get((one, case)), whole.get((two, case))
            if a is None or b is None:
                continue
            pairs = [*zip(a["train_losses"] + a["eval_losses"], b["train_losses"] + b["eval_losses"], strict=True)]
            summary[f"{case} {two}"] = {
                "times_one_gpu": round(b["tokens_per_second"] / a["tokens_per_second"], 3),
                "largest_loss_difference": max(abs(x - y) for x, y in pairs),
            }
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/distributed"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--seconds", type=float, default=200, help="no case is begun after this")
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--group", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.deadline = args.deadline or time.time() + args.seconds
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.write:
        for name in args.write.split(","):
            write_checkpoint(name, args)
    if args.group:
        start_group(args.group, args)
    if args.write or args.group:
        return
    shutil.rmtree(args.folder / "runs", ignore_errors=True)
    limit = args.deadline + 30
    wanted = args.groups.split(",")
    lines = collect(
        [in_own_process(args, 0, "--write", "small,7b", *(["--group", "one-7b"] if "one-7b" in wanted else [])),
         in_own_process(args, 1, "--write", "13b", *(["--group", "one-13b"] if "one-13b" in wanted else []))], limit,
    )  # fmt: skip
    for group in ("two-ddp", "two-fsdp"):
        if group in wanted:
            lines += collect([in_own_process(args, None, "--group", group)], limit)
    print(json.dumps(summarise(lines)), flush=True)


if __name__ == "__main__":
    main()
