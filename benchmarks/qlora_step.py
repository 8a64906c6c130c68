"""Tokens per second and peak memory of one QLoRA step: ours beside TRL and Unsloth, on the very same batches.

    python benchmarks/random_checkpoint.py CHECKPOINT --tokenizer $ROWPICK_DATA/llama2-tokenizer
    python benchmarks/qlora_step.py CHECKPOINT                              # every stack, each in its own process
    python benchmarks/qlora_step.py CHECKPOINT --stacks ours,unsloth,trl-checkpointing
    python benchmarks/qlora_step.py CHECKPOINT --stacks notebook,trl-notebook

$ROWPICK_DATA (or --data) holds `codegen-4.5k.jsonl`. Every stack but `ours-isolated` gets the same ids, labels and
(full causal) attention: rows of real text joined and cut at 1,024 tokens, 8 a step, r = 16 on all linear layers, NF4,
paged 8-bit AdamW, through each library's own trainer. `ours-isolated` packs whole rows that do not see each other, with
loss on the outputs alone. Only real tokens are counted. One JSON line a stack, then a summary with ratios; a stack that
fails prints its error, and the rest go on. `losses` are those of each step, for comparing
trajectories; `sums_of_ids` shows that the batches are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "disabled")

LENGTH, ROWS = 1024, 8
# Ours: overrides of the llama2-7b preset. TRL: (checkpointing, Liger kernels, one of two roundings taken out).
OURS: dict[str, list[str]] = {
    "ours": ["packing=joined", "completion_only_loss=false"],
    "ours-isolated": ["packing=best-fit"],
    "ours-low-memory": ["packing=joined", "completion_only_loss=false", "gradient_checkpointing=true"],
    "ours-lowest-memory": [
        "packing=joined",
        "completion_only_loss=false",
        "gradient_checkpointing=true",
        "per_device_train_batch_size=4",
        "gradient_accumulation_steps=2",
    ],
    "ours-kernels-off": ["packing=joined", "completion_only_loss=false", "kernels=false"],
}
TRL = {
    "trl": (False, False, ""),
    "trl-float32-adapters": (False, False, "adapters"),
    "trl-float32-sum": (False, False, "sum"),
    "trl-checkpointing": (True, False, ""),
    "trl-liger": (False, True, ""),
    "trl-liger-checkpointing": (True, True, ""),
}
UNSLOTH = {"unsloth": False, "unsloth-checkpointing": "unsloth"}
NOTEBOOK = ("notebook", "trl-notebook")
DEFAULT = [*OURS, *TRL, *UNSLOTH]
for slow in ("ours-kernels-off", "trl-float32-adapters", "trl-float32-sum"):
    DEFAULT.remove(slow)


def texts(data: Path) -> list[tuple[str, str]]:
    """(instruction, output) of every row."""
    lines = (data / "codegen-4.5k.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["instruction"], row["output"]) for row in map(json.loads, lines)]


def encode(folder: Path, data: Path) -> list[Any]:
    """Every row as training renders it."""
    from curate.tokens.prompt import RAW
    from curate.tokens.tokenizers import encode_examples, load_tokenizer

    return encode_examples(load_tokenizer("benchmark", str(folder)), RAW, texts(data))


def joined(folder: Path, data: Path, length: int, count: int) -> list[list[int]]:
    """`count` rows of exactly `length` tokens: all rows end to end, again and again, and cut."""
    stream = [token for example in encode(folder, data) for token in example.input_ids]
    while len(stream) < count * length:
        stream += stream
    return [stream[i * length : (i + 1) * length] for i in range(count)]


class Clock:
    """Seconds of every step after the warm-up, the GPU waited for: fetching the batch, forward, backward, update."""

    def __init__(self, warm: int) -> None:
        self.warm, self.steps = warm, 0
        self.seconds: list[float] = []
        self.rates: list[float] = []
        self.batches: list[Any] = []
        self.profiled = False
        self.profiler: Any = None
        self._begun = self._fetching = 0.0

    def watch(self, trainer: Any) -> None:
        """Time `trainer`'s steps; what callbacks added later do at a step's end is left out."""
        import torch
        from transformers import TrainerCallback

        clock, fetch, train = self, trainer.get_batch_samples, trainer.training_step

        def seen_step(model: Any, inputs: Any, *more: Any, **named: Any) -> Any:
            clock.batches.append(inputs["input_ids"].sum())
            return train(model, inputs, *more, **named)

        def timed_fetch(*inputs: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            result = fetch(*inputs, **named)
            clock._fetching = time.perf_counter() - begun
            return result

        class Step(TrainerCallback):  # type: ignore[misc]
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                _synchronise(torch)
                if clock.profiled and clock.steps == clock.warm - 1:
                    clock.profiler = torch.profiler.profile(
                        activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
                    )
                    clock.profiler.start()
                clock._begun = time.perf_counter()

            def on_step_end(self, *_: Any, **named: Any) -> None:
                _synchronise(torch)
                if clock.profiler is not None:
                    clock.profiler.stop()
                    print_kernels(clock.profiler)
                    clock.profiler = None
                clock.steps += 1
                clock.rates.append(named["lr_scheduler"].get_last_lr()[0])
                if clock.steps > clock.warm:
                    clock.seconds.append(time.perf_counter() - clock._begun + clock._fetching)

        trainer.get_batch_samples, trainer.training_step = timed_fetch, seen_step
        trainer.add_callback(Step())


def print_kernels(profiler: Any) -> None:
    """One JSON line a kernel of the GPU in the profiled step, the longest first: calls, and milliseconds in all."""
    events = [each for each in profiler.key_averages() if str(each.device_type).endswith("CUDA")]
    for each in sorted(events, key=lambda each: -each.self_device_time_total)[:40]:
        name, calls = each.key[:110], each.count
        print(json.dumps({"gpu": name, "calls": calls, "ms": round(each.self_device_time_total / 1000, 2)}), flush=True)


def _synchronise(torch: Any) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def report(stack: str, clock: Clock, tokens: int, places: int, losses: list[float], **more: Any) -> dict[str, Any]:
    """The line of one stack. `tokens` and `places` are those of the timed steps: real tokens, and padding with them."""
    import torch

    cuda = torch.cuda.is_available()
    total = sum(clock.seconds)
    return {
        "stack": stack,
        "tokens_per_second": round(tokens / total),
        "seconds_per_step": round(total / len(clock.seconds), 4),
        "fastest_step": round(min(clock.seconds), 4),
        "median_step": round(statistics.median(clock.seconds), 4),
        "steps": len(clock.seconds),
        "padding_share": round(1 - tokens / places, 4),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None,
        "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2) if cuda else None,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "losses": [round(loss, 5) for loss in losses],
        "learning_rates": clock.rates[:20],
        "sums_of_ids": [int(batch) for batch in clock.batches[:20]],
        **more,
    }


def run_ours(stack: str, overrides: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Our trainer, as `finetune run` builds it."""
    from curate.tokens.tokenizers import EncodedExample, load_tokenizer
    from finetune.batches.dataset import Plan, build_plan
    from finetune.config import load_config
    from finetune.recipe import run_steps
    from finetune.run.history import History
    from finetune.run.job import Job, pad_token
    from finetune.tracking.table import NONE
    from finetune.trainer import build_trainer

    steps = args.warm + args.steps
    config = load_config(
        "llama2-7b",
        overrides=[f"per_device_train_batch_size={args.rows}", f"max_length={args.length}", "num_train_epochs=50",
                   "gradient_accumulation_steps=1", f"max_steps={steps}", "warmup_steps=2", "lr_scheduler_type=linear",
                   "logging_steps=1000", "eval_steps=1000", f"model={args.checkpoint}", *overrides, *args.set],
    )  # fmt: skip
    tokenizer = load_tokenizer(config.model, str(args.checkpoint))
    if config.packing == "joined":
        rows = joined(args.checkpoint, args.data, args.length, args.rows * steps)
        plan = Plan([EncodedExample(row, 0) for row in rows], [[i] for i in range(len(rows))], steps)
    else:
        plan = build_plan(encode(args.checkpoint, args.data), config)
    folder = Path(tempfile.mkdtemp())
    selection: Any = SimpleNamespace(digest="benchmark")
    job = Job(config, selection, folder, tokenizer, pad_token(tokenizer, config), plan, [], History(folder))
    trainer = build_trainer(job)
    clock = Clock(args.warm)
    clock.profiled = args.profile
    clock.watch(trainer)
    losses: list[Any] = []
    add = job.meter.add

    def add_and_keep(nll: Any, sample_ids: Any) -> None:
        losses.append(nll.detach().mean())
        add(nll, sample_ids)

    job.meter.add = add_and_keep  # type: ignore[method-assign]
    run_steps(job, trainer, NONE)
    per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    bins = plan.bins[args.warm * per_step : steps * per_step]
    real = [sum(len(plan.examples[i].input_ids) for i in places) for places in bins]
    widths = [
        max(real[i : i + config.per_device_train_batch_size])
        for i in range(0, len(real), config.per_device_train_batch_size)
    ]
    places = sum(widths) * config.per_device_train_batch_size
    return report(stack, clock, sum(real), places, [float(x) for x in losses], kernels=job.kernels_refused or "used")


def run_trl(stack: str, args: argparse.Namespace) -> dict[str, Any]:
    """TRL's SFTTrainer as a careful user sets it up; the adapter starts from the numbers ours starts from."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from finetune.config import load_config
    from finetune.model import attach_adapter

    checkpointing, liger, float32 = TRL[stack]
    steps, cuda = args.warm + args.steps, torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    tokenizer.pad_token = tokenizer.unk_token
    model = AutoModelForCausalLM.from_pretrained(
        args.checkpoint, dtype=torch.bfloat16, attn_implementation="sdpa", device_map={"": 0 if cuda else "cpu"}
    )
    model = attach_adapter(model, load_config("llama2-7b", overrides=[f"model={args.checkpoint}"]))
    rows = joined(args.checkpoint, args.data, args.length, args.rows * steps)
    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=args.rows, gradient_accumulation_steps=1,
        max_steps=steps, logging_steps=1, max_length=args.length, learning_rate=2e-4, lr_scheduler_type="linear",
        warmup_steps=2, report_to="none", gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False}, bf16=cuda, use_cpu=not cuda, save_strategy="no",
        optim="paged_adamw_8bit" if cuda else "adamw_torch", use_liger_kernel=liger, disable_tqdm=True, seed=0,
    )  # fmt: skip
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    clock = Clock(args.warm)
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=Dataset.from_dict({"input_ids": rows}), processing_class=tokenizer,
    )  # fmt: skip
    if float32 == "sum":
        add_in_float32(model)
    if float32:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data = before[name]
    _in_order(trainer, torch)
    clock.watch(trainer)
    trainer.train()
    return _peer_line(stack, trainer, clock, args)


def add_in_float32(model: Any) -> None:
    """Let PEFT's layers round once, after the adapter's part is added.

    PEFT (and Unsloth) round the frozen product to bfloat16 and then add the adapter's part to it. Early in training
    that part is smaller than half the distance to the next bfloat16, and such a part, added to a rounded number, is
    lost.
    """
    import torch

    class Product(torch.autograd.Function):
        """x W^T with a float32 result; W is frozen."""

        @staticmethod
        def forward(ctx: Any, x: Any, layer: Any) -> Any:
            ctx.layer = layer
            weight = _weight(layer)
            return torch.mm(x, weight.t(), out_dtype=torch.float32) if x.is_cuda else x.float() @ weight.float().t()

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad.to(torch.bfloat16) @ _weight(ctx.layer), None

    def forward(self: Any, x: Any, *_: Any, **__: Any) -> Any:
        flat = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        with torch.autocast(x.device.type, enabled=False):
            frozen = Product.apply(flat, self.base_layer)  # type: ignore[no-untyped-call]
        name = self.active_adapters[0]
        with torch.autocast(x.device.type, torch.bfloat16):
            adapted = self.lora_B[name](self.lora_A[name](flat)) * self.scaling[name]
        return (frozen + adapted.float()).to(torch.bfloat16).view(*x.shape[:-1], -1)

    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.forward = types.MethodType(forward, module)


def _weight(layer: Any) -> Any:
    import torch

    from finetune.kernels.dequantize import dequantize_into

    weight = layer.weight.new_empty(layer.out_features, layer.in_features, dtype=torch.bfloat16)
    dequantize_into(layer, weight)
    return weight


def run_unsloth(stack: str, args: argparse.Namespace) -> dict[str, Any]:
    """Unsloth's model under TRL's trainer, as its documentation sets it up."""
    from unsloth import FastLanguageModel  # must be imported before transformers  # isort: skip
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    steps = args.warm + args.steps
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(args.checkpoint), max_seq_length=args.length, dtype=torch.bfloat16, load_in_4bit=True, local_files_only=True
    )
    tokenizer.pad_token = tokenizer.unk_token
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, lora_dropout=0, bias="none", use_gradient_checkpointing=UNSLOTH[stack],
        random_state=0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    )  # fmt: skip
    rows = joined(args.checkpoint, args.data, args.length, args.rows * steps)
    columns = {"input_ids": rows, "labels": rows, "attention_mask": [[1] * args.length] * len(rows)}
    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=args.rows, gradient_accumulation_steps=1,
        max_steps=steps, logging_steps=1, max_length=args.length, learning_rate=2e-4, lr_scheduler_type="linear",
        warmup_steps=2, report_to="none", bf16=True, save_strategy="no", optim="paged_adamw_8bit", disable_tqdm=True,
        seed=0,
    )  # fmt: skip
    clock = Clock(args.warm)
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer,
    )  # fmt: skip
    _in_order(trainer, torch)
    clock.watch(trainer)
    trainer.train()
    return _peer_line(stack, trainer, clock, args)


def _in_order(trainer: Any, torch: Any) -> None:
    """Rows in the order they were made in, as ours takes them."""
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)


def _peer_line(stack: str, trainer: Any, clock: Clock, args: argparse.Namespace) -> dict[str, Any]:
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    tokens = args.rows * args.length * len(clock.seconds)
    return report(stack, clock, tokens, tokens, losses)


def run_notebook(stack: str, args: argparse.Namespace) -> dict[str, Any]:
    """The `notebook` preset's own job: 100 steps of 2 x 18 rows of 100 tokens; training steps, evaluations and loading
    apart. `trl-notebook` is the same through TRL, with checkpointing, as the notebook had it, and no evaluation."""
    started = time.perf_counter()
    if stack == "trl-notebook":
        return _trl_notebook(args, started)
    from curate.tokens.tokenizers import load_tokenizer
    from finetune import recipe
    from finetune.batches.dataset import build_plan
    from finetune.config import load_config
    from finetune.run import callback
    from finetune.run.history import History
    from finetune.run.job import Job, pad_token
    from finetune.tracking.table import NONE
    from finetune.trainer import build_trainer

    config = load_config("notebook", overrides=[f"model={args.checkpoint}", *args.set])
    tokenizer = load_tokenizer(config.model, str(args.checkpoint))
    examples = encode(args.checkpoint, args.data)
    plan = build_plan(examples[:1000], config)
    folder = Path(tempfile.mkdtemp())
    selection: Any = SimpleNamespace(digest="benchmark")
    held_out = examples[1000:1100]
    job = Job(config, selection, folder, tokenizer, pad_token(tokenizer, config), plan, held_out, History(folder))
    trainer = build_trainer(job)
    loading = time.perf_counter() - started
    clock, evaluating = Clock(0), [0.0]
    evaluate = callback.evaluate

    def timed_evaluate(*inputs: Any) -> Any:
        begun = time.perf_counter()
        result = evaluate(*inputs)
        evaluating[0] += time.perf_counter() - begun
        return result

    callback.evaluate = timed_evaluate  # type: ignore[assignment]
    clock.watch(trainer)
    recipe.run_steps(job, trainer, NONE)
    return report(
        stack, clock, 36 * 100 * plan.max_steps, 36 * 100 * plan.max_steps,
        [line["eval_loss"] for line in job.history.lines if line["eval_loss"] is not None],
        training_seconds=round(sum(clock.seconds), 2), evaluating_seconds=round(evaluating[0], 2),
        loading_seconds=round(loading, 2), kernels=job.kernels_refused or "used",
    )  # fmt: skip


def _trl_notebook(args: argparse.Namespace, started: float) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from finetune.config import load_config
    from finetune.model import attach_adapter

    steps = args.notebook_peer_steps
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    tokenizer.pad_token = tokenizer.unk_token
    model = AutoModelForCausalLM.from_pretrained(args.checkpoint, dtype=torch.bfloat16, device_map={"": 0})
    model = attach_adapter(model, load_config("notebook", overrides=[f"model={args.checkpoint}"]))
    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=18, gradient_accumulation_steps=2, max_steps=steps,
        logging_steps=10, max_length=100, learning_rate=2e-4, warmup_steps=10, report_to="none", bf16=True,
        gradient_checkpointing=True, save_strategy="no", optim="paged_adamw_8bit", disable_tqdm=True,
    )  # fmt: skip
    rows = joined(args.checkpoint, args.data, 100, 36 * steps)
    clock = Clock(0)
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=Dataset.from_dict({"input_ids": rows}), processing_class=tokenizer,
    )  # fmt: skip
    loading = time.perf_counter() - started
    clock.watch(trainer)
    trainer.train()
    return report(
        "trl-notebook", clock, 3600 * steps, 3600 * steps, [], training_seconds=round(sum(clock.seconds), 2),
        training_seconds_of_100_steps=round(100 * statistics.median(clock.seconds), 2),
        loading_seconds=round(loading, 2),
    )  # fmt: skip


def run_stack(stack: str, args: argparse.Namespace) -> dict[str, Any]:
    """Time one stack in this process."""
    if stack in OURS:
        return run_ours(stack, OURS[stack], args)
    if stack in NOTEBOOK:
        return run_notebook(stack, args)
    return run_unsloth(stack, args) if stack in UNSLOTH else run_trl(stack, args)


def in_own_process(stack: str, limit: float) -> dict[str, Any]:
    """The line of `stack`, run by this script again: libraries patch each other, and memory starts empty."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", stack]
    started = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"stack": stack, "error": f"not done after {limit:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"stack"')]
    seconds = {"process_seconds": round(time.perf_counter() - started, 1)}
    if not lines:
        return {"stack": stack, "error": done.stderr.strip()[-1500:] or done.stdout[-500:], **seconds}
    return {**json.loads(lines[-1]), **seconds}


def summarise(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Ratios of `ours` to every other stack, and the largest distance between its losses and theirs."""
    done = {line["stack"]: line for line in lines if "error" not in line}
    summary: dict[str, Any] = {"summary": "qlora_step", "failed": [line["stack"] for line in lines if "error" in line]}
    if "ours" in done:
        ours = done["ours"]
        summary["ours_to"] = {
            name: round(ours["tokens_per_second"] / line["tokens_per_second"], 3)
            for name, line in done.items() if name not in (*OURS, *NOTEBOOK)
        }  # fmt: skip
    names = [n for n in ("ours", "ours-low-memory", *TRL) if n in done]
    summary["largest_loss_difference"] = {
        f"{a} - {b}": max(abs(x - y) for x, y in zip(done[a]["losses"], done[b]["losses"], strict=True))
        for i, a in enumerate(names) for b in names[i + 1 :]
    }  # fmt: skip
    return summary


def main() -> None:
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("ROWPICK_DATA"))
    parser.add_argument("--stacks", default=",".join(DEFAULT))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm", type=int, default=4)
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--rows", type=int, default=ROWS, help="a step")
    parser.add_argument("--notebook-peer-steps", type=int, default=20)
    parser.add_argument("--limit", type=float, default=180, help="seconds a stack may take")
    parser.add_argument("--budget-seconds", type=float, default=1e9, help="no stack is begun after this")
    parser.add_argument("--set", action="append", default=[], help="name=value of our config")
    parser.add_argument("--profile", action="store_true", help="with --only ours: also the kernels of a step")
    parser.add_argument("--only", help="time one stack in this process")
    args = parser.parse_args()
    if args.data is None:
        parser.error("name the data folder: --data DIR or ROWPICK_DATA")
    if args.only:
        print(json.dumps(run_stack(args.only, args)), flush=True)
        return
    lines = []
    for stack in args.stacks.split(","):
        if time.perf_counter() - started > args.budget_seconds:
            print(json.dumps({"stack": stack, "error": f"not begun after {args.budget_seconds:.0f} s"}), flush=True)
            continue
        lines.append(in_own_process(stack, args.limit))
        print(json.dumps(lines[-1]), flush=True)
    print(json.dumps(summarise(lines)))


if __name__ == "__main__":
    main()
