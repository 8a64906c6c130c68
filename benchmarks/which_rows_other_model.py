"""Train the cells of the study "which rows?" on another base model, one after another, on a CPU or a card.

    python benchmarks/which_rows_plan.py PLAN --data DIR --draws 2 --budget 50000 --model FOLDER
    python benchmarks/which_rows_other_model.py PLAN --model FOLDER --out DIR [--seconds 3600]

`which_rows.py` trains many cells together, which knows Llama's layers alone; this takes any causal language model, a
folder of safetensors or with one GGUF file. The recipe is the same. Each cell is a line of DIR/results.jsonl; cells
that stand there are not made again, and none is begun that would not end within --seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_lines import key
from benchmarks.which_rows_model import adapt, as_safetensors, load_model, row_losses, train
from benchmarks.which_rows_picks import Rows

BINS_A_PASS = 1  # a large vocabulary's logits take 1 GB a thousand tokens


def run(args: argparse.Namespace) -> None:
    """Train and measure what is not there yet, as far as there is time."""
    began, slowest = time.perf_counter(), 0.0
    rows = Rows(args.plan)
    args.out.mkdir(parents=True, exist_ok=True)
    results = args.out / "results.jsonl"
    done = {key(json.loads(line)) for line in results.open()} if results.is_file() else set()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as scratch:
        model = load_model(as_safetensors(args.model, Path(scratch)), device, getattr(torch, args.dtype))
    layers = adapt(model)
    held_out = [rows.examples[i] for i in rows.held_out]
    for cell in rows.plan["cells"]:
        if key(cell) in done:
            continue
        if time.perf_counter() - began + slowest > args.seconds:
            break
        started = time.perf_counter()
        chosen = rows.pick(cell)
        examples = [rows.examples[i] for i in chosen]
        train(model, layers, examples, cell["draw"], max_steps=args.max_steps, bins_a_pass=BINS_A_PASS)
        trained = time.perf_counter() - started
        losses: list[Any] = row_losses(model, held_out, device, BINS_A_PASS)
        slowest = max(slowest, time.perf_counter() - started)
        record = cell | {
            "rows": chosen,
            "tokens": sum(len(example.input_ids) for example in examples),
            "H": [total for total, _ in losses],
            "train_seconds": round(trained, 1),
            "seconds": round(time.perf_counter() - started, 1),
        }
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        loss = round(sum(record["H"]) / sum(n for _, n in losses), 4)
        said = {name: record.get(name) for name in ("cell", "target", "draw", "tokens", "train_seconds", "seconds")}
        print(json.dumps(said | {"loss": loss}), flush=True)


def main() -> None:
    """Run the cells of a plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--max-steps", type=int, help="of each training: for a trial")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
