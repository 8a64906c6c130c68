"""New tokens per second of our generation beside transformers' own ways, as ratios to one prompt at a time.

    python benchmarks/generation.py                                        # smollm2-135m on the CPU, about 2 minutes
    python benchmarks/generation.py --device cuda --random-llama2-7b --random-adapter
    python benchmarks/generation.py --device cuda --model DIR --tokenizer DIR --random-adapter

Prints one JSON line per variant and a summary. The end token is held back, so that every variant makes the same number
of tokens; a variant that fails prints its error and the rest go on. Greedy; texts are compared with those made one at
a time (exact in float32, near ties may differ in bfloat16).
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluate_suite.generation.engines import generate
from evaluate_suite.generation.record import DecodingSettings, GenerationTask

LLAMA2_7B = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
}  # fmt: skip


class IdTokenizer:
    """Stands in where only weights are at hand: ids as words."""

    eos_token_id, bos_token_id, pad_token_id = 2, 1, None

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return " ".join(map(str, ids))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--model", default="smollm2-135m", help="hub id, folder or smollm2-135m")
    parser.add_argument("--tokenizer", help="folder with the tokenizer, when --model has none")
    parser.add_argument("--random-llama2-7b", action="store_true", help="random bfloat16 weights in that shape")
    parser.add_argument("--random-adapter", action="store_true", help="random LoRA r=16, all linear layers, not merged")
    parser.add_argument("--prompts", type=int, help="default 32 on a CPU, 164 on CUDA")
    parser.add_argument("--max-new-tokens", type=int, help="default 32 on a CPU, 256 on CUDA")
    parser.add_argument("--variants", help="comma-separated; default all")
    parser.add_argument("--budget-seconds", type=float, default=170, help="no variant starts after this")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def load(args: argparse.Namespace) -> tuple[Any, Any]:
    """Model (eval, on the device) and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    from curate.defaults import SMOLLM2
    from curate.tokens.tokenizers import load_tokenizer, smollm2_folder

    tokenizer: Any = IdTokenizer()
    if args.random_llama2_7b:
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(args.device):
            model: Any = LlamaForCausalLM(LlamaConfig(**LLAMA2_7B))
        torch.set_default_dtype(torch.float32)
    elif args.model == SMOLLM2:
        folder, gguf = smollm2_folder()
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=torch.float32)
    else:
        dtype = torch.bfloat16 if args.device == "cuda" else torch.float32
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
    if args.tokenizer or not args.random_llama2_7b:
        try:
            tokenizer = load_tokenizer(args.model, args.tokenizer)
        except Exception as error:
            print(json.dumps({"note": f"no tokenizer ({error}); random prompt ids"}), flush=True)
    model = model.to(args.device).eval()
    if args.random_adapter:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(1)
        model = get_peft_model(
            model, LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
        )
        model = model.to(args.device).eval()
    return model, tokenizer


def make_tasks(tokenizer: Any, count: int) -> list[GenerationTask]:
    """The packaged raw prompts, again and again with a number before them, as training would have encoded them."""
    from curate.tokens.prompt import RAW
    from curate.tokens.tokenizers import encode_prompt
    from evaluate_suite.generation.raw_prompts import load_raw_prompts

    prompts = load_raw_prompts()
    tasks = []
    for i in range(count):
        prompt = prompts[i % len(prompts)]
        text = prompt.prompt if i < len(prompts) else f"{i}. {prompt.prompt}"
        if isinstance(tokenizer, IdTokenizer):
            ids = [1, *((7 + 31 * i + 17 * j) % 31000 + 3 for j in range(len(text) // 3))]
        else:
            ids = encode_prompt(tokenizer, RAW, text)
        tasks.append(GenerationTask(f"{prompt.prompt_id}/{i}", text, ids))
    return tasks


def transformers_static(model: Any, tasks: list[GenerationTask], new: int, batch: int) -> list[list[int]]:
    """`generate` with its static cache, which it compiles on CUDA; batches sorted by length."""
    import torch
    from transformers import GenerationConfig

    order = sorted(range(len(tasks)), key=lambda i: len(tasks[i].prompt_ids))
    config = GenerationConfig(
        max_new_tokens=new, min_new_tokens=new, do_sample=False, eos_token_id=2, pad_token_id=2,
        cache_implementation="static",
    )  # fmt: skip
    out: dict[int, list[int]] = {}
    width = max(len(task.prompt_ids) for task in tasks)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        rows = [(i, width - len(tasks[i].prompt_ids)) for i in chosen]
        ids = torch.tensor([[2] * gap + list(tasks[i].prompt_ids) for i, gap in rows], device=model.device)
        mask = torch.tensor([[0] * gap + [1] * (width - gap) for _, gap in rows], device=model.device)
        result = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        out.update(zip(chosen, result[:, width:].tolist(), strict=True))
    return [out[i] for i in range(len(tasks))]


def transformers_continuous(model: Any, tasks: list[GenerationTask], new: int) -> list[list[int]]:
    """`generate_batch`, the continuous batching of transformers."""
    from transformers import GenerationConfig

    config = GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=-1, pad_token_id=2)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    result = base.generate_batch(
        [list(task.prompt_ids) for task in tasks], generation_config=config, progress_bar=False
    )
    found = sorted(result.values(), key=lambda output: int(str(output.request_id).rsplit("_", 1)[-1]))
    return [list(output.generated_tokens) for output in found]


def main() -> None:
    import torch

    started = time.perf_counter()
    args = parse_arguments()
    cuda = args.device == "cuda"
    torch.set_num_threads(args.threads)
    count = args.prompts or (164 if cuda else 32)
    new = args.max_new_tokens or (256 if cuda else 32)
    model, tokenizer = load(args)
    tasks = make_tasks(tokenizer, count)
    lengths = [len(task.prompt_ids) for task in tasks]
    few = list(range(0, count, max(1, count // (2 if cuda else 6))))[: 2 if cuda else 6]
    settings = DecodingSettings(max_new_tokens=new, min_new_tokens=new)

    def ours(engine: str, batch: int, which: Sequence[int] | None = None) -> Callable[[], list[Any]]:
        chosen = [tasks[i] for i in which] if which is not None else tasks
        return lambda: [
            (g.completion, g.new_tokens)
            for g in generate(model, tokenizer, chosen, replace(settings, batch_size=batch), engine=engine)
        ]

    def ids(call: Callable[[], list[list[int]]]) -> Callable[[], list[Any]]:
        def decode(row: list[int]) -> str:
            return str(tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False))

        return lambda: [(decode(row), len(row)) for row in call()]

    sizes = (64, 164) if cuda else (16, 32)
    variants: dict[str, tuple[Callable[[], list[Any]], list[int] | None]] = {
        "one_at_a_time": (ours("plain", 1, few), few)
    }
    for size in sizes:
        variants[f"slots_{size}"] = (ours("slots", size), None)
    for size in sizes[:1] if cuda else sizes:
        variants[f"plain_{size}"] = (ours("plain", size), None)
    static = min(count, 164 if cuda else 16)
    variants[f"transformers_static_{static}"] = (ids(lambda: transformers_static(model, tasks, new, static)), None)
    variants["transformers_continuous"] = (ids(lambda: transformers_continuous(model, tasks, new)), None)
    if not cuda:
        variants["one_at_a_time_again"] = variants["one_at_a_time"]  # a busy machine changes speed meanwhile
    wanted = args.variants.split(",") if args.variants else list(variants)
    # A first short run, so that lazy set-up is nobody's cost.
    generate(model, tokenizer, tasks[:2], replace(settings, max_new_tokens=4, min_new_tokens=4))
    base_speed, reference, best = None, {}, ("", 0.0)
    base_cpu = a_cpu_second = 0.0
    for name in wanted:
        if time.perf_counter() - started > args.budget_seconds:
            print(json.dumps({"variant": name, "error": "not started: time budget spent"}), flush=True)
            continue
        run, which = variants[name]
        line: dict[str, Any] = {"variant": name}
        try:
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            begin, cpu_begin = time.perf_counter(), time.process_time()
            result = run()
            if cuda:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - begin
            made = sum(tokens for _, tokens in result)
            speed = made / seconds
            line |= {"prompts": len(result), "new_tokens": made, "seconds": round(seconds, 2)}
            line["new_tokens_per_second"] = round(speed, 1)
            if not cuda:
                line["cpu_seconds"] = round(time.process_time() - cpu_begin, 2)
                a_cpu_second = made / (time.process_time() - cpu_begin)
            if name.startswith("one_at_a_time"):
                base_cpu = max(a_cpu_second, base_cpu)
                base_speed = max(speed, base_speed or 0.0)
                reference = {i: text for i, (text, _) in zip(few, result, strict=True)}
            elif base_speed:
                line["ratio_to_one_at_a_time"] = round(speed / base_speed, 2)
                if not cuda:  # of use with --threads 1, where other programs take wall time but no CPU time of ours
                    line["ratio_in_cpu_time"] = round(a_cpu_second / base_cpu, 2)
                indices = which or range(len(result))
                texts = {i: text for i, (text, _) in zip(indices, result, strict=True)}
                line["identical_texts"] = sum(texts[i] == reference[i] for i in reference)
                line["compared_texts"] = len(reference)
            if cuda:
                line["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
            best = max(best, (name, speed), key=lambda item: item[1])
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {error}"[:500]
        print(json.dumps(line), flush=True)
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()
    summary = {
        "summary": "generation", "device": torch.cuda.get_device_name() if cuda else "cpu", "model": "random llama2-7b"
        if args.random_llama2_7b else args.model, "adapter": args.random_adapter, "dtype": str(model.dtype),
        "prompt_tokens_mean": round(sum(lengths) / len(lengths), 1), "prompt_tokens_max": max(lengths),
        "max_new_tokens": new, "best": best[0], "best_new_tokens_per_second": round(best[1], 1),
        "ratio": round(best[1] / base_speed, 2) if base_speed else None,
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
