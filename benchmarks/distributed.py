"""One model on two GPUs: speed and losses beside one GPU's, going on with another number, TRL with FSDP beside us.

    python benchmarks/distributed.py                       # two H100s, about four minutes
    python benchmarks/distributed.py --groups two-fsdp,trl
    python benchmarks/distributed.py --tiny                # two processes on a CPU, to see that it runs
    python benchmarks/distributed.py --forecast            # what `finetune forecast` says of each case, anywhere

Random NF4 weights in the shapes of Llama 2, rows of random words that fill their bins. A checkpoint holds one layer,
which every process repeats in its own memory. One JSON line a case, then a summary over all lines of the folder. Each
group of cases has its own process or processes.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import repeated_layer  # noqa: E402

WARM = 4
# name -> (checkpoint, bins a batch and batches a step of one GPU, length, rank, checkpointing, kernels, steps)
CASES: dict[str, tuple[str, int, int, int, int, str, bool, int]] = {
    "small": ("small", 2, 2, 256, 16, "false", False, 8),
    "7b": ("7b", 8, 2, 1024, 16, "false", True, 12),
    "7b-wide": ("7b", 8, 4, 1024, 16, "false", True, 8),
    "7b-checkpointing": ("7b", 8, 2, 1024, 16, "true", True, 4),
    "7b-short": ("7b", 4, 2, 512, 64, "false", True, 4),
    "7b-long": ("7b", 2, 2, 2048, 32, "true", True, 4),
    "7b-libraries": ("7b", 4, 2, 1024, 16, "true", False, 4),
    "13b": ("13b", 4, 2, 1024, 16, "false", True, 8),
    "13b-trl": ("13b", 4, 2, 1024, 16, "true", True, 6),
    "13b-checkpointing": ("13b", 8, 2, 1024, 16, "true", True, 4),
    "13b-through-memory": ("13b", 4, 2, 512, 16, "true", True, 4),
    "13b-libraries": ("13b", 2, 2, 1024, 8, "true", False, 4),
    "70b": ("70b", 4, 2, 1024, 16, "auto", True, 4),
    "70b-checkpointing": ("70b", 4, 2, 1024, 16, "true", True, 4),
}  # fmt: skip
# Twelve steps; the first six of them; the last six, after the half that the other group left.
for _kind in ("whole", "half", "on"):
    CASES[f"resume-{_kind}"] = ("7b-8-layers", 4, 2, 512, 16, "false", True, 12)
OTHER = {"one": "two-fsdp", "one-again": "two-fsdp", "two-fsdp": "one"}
GROUPS: dict[str, tuple[int, str, list[str]]] = {
    "one": (1, "ddp", ["resume-whole", "resume-half", "13b", "7b", "7b-wide"]),
    "one-again": (1, "ddp", ["resume-on"]),
    "two-fsdp": (2, "fsdp", ["13b", "70b-checkpointing", "13b-trl", "resume-on", "resume-whole", "resume-half", "7b",
                             "70b", "13b-through-memory"]),
    "trl": (2, "trl", ["70b-checkpointing", "13b-trl", "13b"]),
    "two-ddp": (2, "ddp", ["7b-wide", "7b"]),
    "four-ddp": (4, "ddp", ["7b-wide", "7b"]),
    "four-fsdp": (4, "fsdp", ["70b-checkpointing", "70b", "13b", "13b-trl"]),
    "four-trl": (4, "trl", ["70b-checkpointing", "13b-trl"]),
    "more": (2, "fsdp", ["small", "7b-long", "7b-short", "13b-libraries", "7b-libraries", "13b-checkpointing",
                         "7b-checkpointing"]),
}  # fmt: skip


def build_config(case: str, folder: Path, tiny: bool) -> Any:
    """The run's config; with `tiny` the same in a size for a CPU."""
    from finetune.config import load_config

    model, batch, accumulation, length, rank, checkpointing, kernels, steps = CASES[case]
    if tiny:
        length, steps = 32, 12 if case.startswith("resume") else 2
    small = ["load_in_4bit=false", "dtype=float32", "optim=adamw_torch"] if model == "small" else ["dtype=bfloat16"]
    resuming = case.startswith("resume")
    return load_config(
        None, model=str(folder / model),
        overrides=[f"per_device_train_batch_size={batch}", f"gradient_accumulation_steps={accumulation}",
                   f"max_length={length}", f"r={rank}", f"gradient_checkpointing={checkpointing}",
                   f"kernels={str(kernels).lower()}", f"max_steps={steps}", "num_train_epochs=1000", "warmup_steps=1",
                   f"logging_steps={1 if resuming else min(4, steps)}", f"eval_steps={steps // (1 + resuming)}",
                   "eval_rows=4", f"device={'cpu' if tiny else 'cuda'}", *small],
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
    from finetune.run import callback
    from finetune.tracking.table import NONE
    from finetune.trainer import build_trainer

    callback.require_reading = lambda *_: None  # type: ignore[attr-defined]  # a layer repeated 80 times is sure of noise
    module.load_base_model = repeated_layer.load_model  # type: ignore[attr-defined]
    module.fits_whole = lambda config: not case.endswith("through-memory")
    on_gpu = torch.cuda.is_available() and not tiny
    config = build_config(case, folder, tiny)
    warm = min(WARM, config.max_steps // 2)
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if case == "resume-half" and state.global_step == config.max_steps // 2:
                raise KeyboardInterrupt  # as if it were killed

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step in (warm, args.max_steps):
                if on_gpu:
                    torch.cuda.synchronize()
                times.append(time.perf_counter())

    gc.collect()
    left_over = 0.0
    if on_gpu:
        torch.cuda.empty_cache()
        left_over = torch.cuda.memory_allocated() / 2**30
    job = build_job(config, place, processes)
    begun = time.perf_counter()
    trainer = build_trainer(job)
    loading = time.perf_counter() - begun
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    trainer.add_callback(Clock())
    with contextlib.suppress(KeyboardInterrupt):
        run_steps(job, trainer, NONE, resume=case == "resume-on")
    step_tokens = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.max_length
    timed = step_tokens * (config.max_steps - warm)
    return {
        "tokens_per_second": round(timed / (times[-1] - times[0])) if len(times) == 2 else None,
        "train_losses": [line["train_loss"] for line in job.history.lines if line["train_loss"] is not None],
        "eval_losses": [line["eval_loss"] for line in job.history.lines if line["eval_loss"] is not None],
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 3) if on_gpu else None,
        "left_over_gib": round(left_over, 3), "kernels": job.kernels_refused or "used",
        "loading_seconds": round(loading, 1), "case_seconds": round(time.perf_counter() - begun, 1),
    }  # fmt: skip


def run_group(group: str, folder: str, tiny: bool, deadline: float, processes: Any) -> None:
    """Every case of a group in this process, one of `processes`; the first prints them."""
    from benchmarks.distributed_trl import run_trl
    from curate.errors import UserError
    from finetune.parallel.processes import process_group

    _, parallel, cases = GROUPS[group]
    processes.use_own_gpu()
    with process_group("cpu" if tiny else "cuda"):
        for case in cases:
            if processes.any(time.time() > deadline):
                break
            place, half = (
                Path(folder) / "runs" / name for name in (f"{group}/{case}", f"{OTHER.get(group)}/resume-half")
            )
            if case == "resume-on" and not half.is_dir():
                continue
            line: dict[str, Any] = {"group": group, "gpus": processes.size, "parallel": parallel, "case": case}
            if processes.first:
                place.mkdir(parents=True, exist_ok=True)
                if case == "resume-on":
                    shutil.copytree(half, place, dirs_exist_ok=True)
            processes.wait()
            run = run_trl if parallel == "trl" else run_case
            try:
                line |= run(case, Path(folder), place, tiny, processes)
            except (UserError, RuntimeError, ValueError, OSError, AttributeError, TypeError) as error:
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


def run_group_apart(group: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A group's lines, printed: made by this script in a new process; the end of what one that failed said."""
    command = [
        sys.executable,
        __file__,
        "--folder",
        str(args.folder),
        "--deadline",
        str(args.deadline),
        "--group",
        group,
    ]
    process = subprocess.Popen(
        command + ["--tiny"] * args.tiny, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = process.communicate(timeout=max(1.0, args.deadline + 45 - time.time()))
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    lines = [json.loads(line) for line in out.splitlines() if line.startswith('{"group"')]
    if process.returncode:
        print(json.dumps({"failed": group, "rc": process.returncode, "stderr": err[-3000:]}), flush=True)
    for line in lines:
        print(json.dumps(line), flush=True)
    return lines


def summarise(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Speed of the other groups over one GPU's, and the distances of losses."""
    whole = {(line["group"], line["case"]): line for line in lines if "error" not in line}
    summary: dict[str, Any] = {"summary": "distributed"}
    for (group, case), line in whole.items():
        one = whole.get(("one", case))
        if one is None or (group in OTHER and line is one):
            continue
        ends = (one, line)
        summary[f"{case}: {group} beside one"] = {
            "times_one_gpu": _ratio(line["tokens_per_second"], one["tokens_per_second"]),
            "base_loss_difference": _distance(*(x["eval_losses"][:1] for x in ends)),
            "largest_loss_difference": _distance(*(x["train_losses"] + x["eval_losses"] for x in ends)),
        }
    for group, before in (("two-fsdp", "one"), ("one-again", "two-fsdp")):
        if (group, "resume-on") in whole and (before, "resume-whole") in whole:
            last = [whole[key]["train_losses"][6:] for key in ((group, "resume-on"), (before, "resume-whole"))]
            summary[f"begun by {before}, ended by {group}"] = {"largest_difference_of_steps_7_to_12": _distance(*last)}
    for case in CASES:
        for own, other in (("two-fsdp", "trl"), ("four-fsdp", "four-trl")):
            ours, trl = whole.get((own, case)), whole.get((other, case))
            if ours and trl:
                ratio = _ratio(ours["tokens_per_second"], trl["tokens_per_second"])
                summary[f"{case}: {own} over {other}"] = ratio
    return summary


def _ratio(a: float | None, b: float | None) -> float | None:
    return round(a / b, 3) if a and b else None


def _distance(a: list[float], b: list[float]) -> float | None:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) if a and len(a) == len(b) else None


def print_forecasts(args: argparse.Namespace) -> None:
    """What `finetune forecast` says of each case of each group, a GPU."""
    from finetune.memory.forecast import forecast
    from finetune.memory.shapes import load_shape
    from finetune.parallel.layout import Layout

    for group, (size, parallel, cases) in GROUPS.items():
        for case in [case for case in cases if parallel != "trl" and case not in ("small", "resume-half")]:
            of, layers = repeated_layer.MODELS[CASES[case][0]]
            shape = load_shape(f"meta-llama/Llama-2-{of}-hf")
            shape.num_hidden_layers = layers or shape.num_hidden_layers
            config = build_config(case, args.folder, False)
            layout = Layout(size, "fsdp" if parallel == "fsdp" else "ddp")
            peak = forecast(config, shape, layout=layout).peak_gib
            print(json.dumps({"group": group, "case": case, "forecast_gib": round(peak, 2)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/distributed"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--seconds", type=float, default=200, help="no case is begun after this")
    parser.add_argument("--forecast", action="store_true")
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="the checkpoints alone")
    parser.add_argument("--group", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.deadline = args.deadline or time.time() + args.seconds
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.forecast:
        print_forecasts(args)
    elif args.write:
        repeated_layer.write_checkpoints(args.folder, args.tiny)
    elif args.group:
        start_group(args.group, args)
    else:
        again = [sys.executable, __file__, "--folder", str(args.folder), "--write", *["--tiny"] * args.tiny]
        subprocess.run(again, check=True)
        kept = args.folder / "lines.jsonl"
        for group in args.groups.split(","):
            with kept.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in run_group_apart(group, args))
        print(json.dumps(summarise([json.loads(line) for line in kept.read_text().splitlines()])), flush=True)


if __name__ == "__main__":
    main()
