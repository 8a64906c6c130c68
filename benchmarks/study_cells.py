"""A study of 32 cells on one GPU and on several: wall time, and what a cell costs beyond training and measures.

    python benchmarks/study_cells.py --workers 1      # CUDA_VISIBLE_DEVICES=0 for one GPU
    python benchmarks/study_cells.py --workers 2
    python benchmarks/study_cells.py --workers auto
    python benchmarks/study_cells.py --tiny --draws 2 --seeds 1       # four cells of a tiny model, on a CPU

Made data: a random model in the shape of smollm2-135m with a tokenizer of 2,000 tokens, 2,000 rows of random words. Two
strategies x 8 draws x 2 training seeds, each selection by `curate select`, each run by `finetune run`'s recipe, losses
and generations of all, one report. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

BEGUN = time.time()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SHAPE = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "max_position_embeddings": 2048, "tie_word_embeddings": True, "bos_token_id": 0,
    "eos_token_id": 1,
}  # fmt: skip
TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1}  # fmt: skip
WORDS = "sort reverse parse copy merge count filter print cache split list dict file string matrix graph tree queue"


def write_inputs(folder: Path, tiny: bool) -> None:
    """The rows, the prompts and the model, where they are not there yet."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    if (folder / "model").is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng, words = np.random.default_rng(0), WORDS.split()
    texts = []
    for _ in range(200 if tiny else 2000):
        names = rng.choice(words, 40)
        body = "".join(
            f"    {a}_{b} = {a}({b}, {n})\n"
            for a, b, n in zip(names[::2], names[1::2], rng.integers(0, 99, 20), strict=True)
        )
        texts.append(
            (f"{names[0]} a {names[1]} and a {names[2]}", f"def {names[0]}_{names[1]}(x):\n{body}    return x\n")
        )
    lines = [json.dumps({"instruction": a, "output": b}) for a, b in texts]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    prompts = [
        json.dumps({"prompt": f"{a} a {b}", "language": "python"}) for a, b in zip(words[::2], words[1::2], strict=True)
    ]
    (folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    bytes_ = Tokenizer(models.BPE())
    bytes_.pre_tokenizer, bytes_.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bytes_.train_from_iterator([text for pair in texts for text in pair], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE | (TINY if tiny else {}), vocab_size=len(tokenizer))
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def build_study(folder: Path, name: str, draws: int, seeds: int, tiny: bool) -> Any:
    """The study, of 32 cells as a rule."""
    from evaluate_suite.config import StudyConfig
    from evaluate_suite.study.request import build_request

    overrides = [
        "max_length=512", "per_device_train_batch_size=4", "gradient_accumulation_steps=2", "num_train_epochs=3",
        "eval_rows=32", "report_eval_rows=64", "logging_steps=5", "eval_steps=100", "warmup_steps=2",
    ]  # fmt: skip
    if tiny:
        overrides += ["device=cpu", "load_in_4bit=false", "eval_rows=4", "report_eval_rows=8", "max_steps=3"]
    return build_request(
        StudyConfig(
            strategies=("random", "kmeans"), draws=draws, seeds=seeds, k=40 if tiny else 160,
            dataset=str(folder / "rows.jsonl"), model=str(folder / "model"), encoder="tfidf", holdout=100,
            near_duplicate=0.999, prompts=folder / "prompts.jsonl", max_new_tokens=16, out=folder / name / "report",
            overrides=tuple(overrides),
        )
    )  # fmt: skip


def timed(function: Callable[..., Any], spans: list[float]) -> Callable[..., Any]:
    """`function`, which adds the seconds of each call to `spans`."""

    def wrapper(*args: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            spans.append(time.perf_counter() - begun)

    return wrapper


def run_study(request: Any, home: Path, workers: str) -> dict[str, Any]:
    """Make the study from nothing and return where its time went."""
    import torch

    from curate.artifact import read_manifest
    from evaluate_suite.reporting.record import KIND
    from evaluate_suite.study import recipe
    from evaluate_suite.study.ray_runner import choose_runner
    from finetune.run.record import KIND as RUN
    from finetune.run.record import runs_dir

    shutil.rmtree(home, ignore_errors=True)
    os.environ["ROWPICK_HOME"] = str(home / "artifacts")
    runner = choose_runner("local", workers, None, None, request.recipe)
    stages: dict[str, list[float]] = {}
    for name in ("make_selections", "train_all", "measure_all", "report", *(["train_run"] if runner is None else [])):
        setattr(recipe, name, timed(getattr(recipe, name), stages.setdefault(name, [])))
    study = recipe.study(request, (), runner)
    manifests = [read_manifest(run, RUN) for run in sorted(runs_dir().iterdir())]
    training = [manifest.seconds["train"] for manifest in manifests]
    cells = stages.pop("train_run", [])[1:]  # of one process; the first loads the base model
    beyond = statistics.mean(cells) - statistics.mean(training) if cells else None
    return {
        "study": workers, "gpus": torch.cuda.device_count(), "cells": len(manifests), "failed": study.failed,
        "workers": getattr(runner, "size", 1), "wall_seconds": round(time.time() - BEGUN, 1),
        "stage_seconds": {name: round(sum(spans), 1) for name, spans in stages.items()},
        "report_seconds": {k: round(v, 1) for k, v in read_manifest(study.report.path, KIND).seconds.items()},
        "training_seconds_a_cell": round(statistics.mean(training), 2),
        "beyond_training_seconds_a_cell": beyond and round(beyond, 2),
        "mean_best_eval_loss": statistics.mean(manifest.config["best_eval_loss"] for manifest in manifests),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/study-cells"))
    parser.add_argument("--workers", default="1")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--name", default="study", help="of the folder; two at once need two")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--modules", action="store_true", help="also print the packages that were imported")
    args = parser.parse_args()
    write_inputs(args.folder, args.tiny)
    request = replace(build_study(args.folder, args.name, args.draws, args.seeds, args.tiny), random_budgets=())
    print(json.dumps(run_study(request, args.folder / args.name, args.workers)), flush=True)
    if args.modules:
        print(sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))


if __name__ == "__main__":
    main()
