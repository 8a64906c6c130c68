"""Train every cell of the study "which rows?" on one accelerator: several worker processes, one JSON line a cell.

    python benchmarks/which_rows.py PLAN --model DIR --out DIR [--seconds 510] [--workers 8] [--done FILE ...]

PLAN is the folder that `which_rows_plan.py` wrote; --model holds the embedded GGUF (or is a folder of safetensors).
Every worker loads the base model once. The first tasks train a reference run and score every pool row by its influence
on V and on each target, a slice of the pool a task; then the cells follow in the plan's order. A cell that fails is
recorded with its error and skipped; no cell is begun after --seconds; cells in a --done file, or in DIR's own, are not
made again.

A cell: LoRA r = 16 on all linear layers, alpha 32, AdamW at 3e-4 (cosine, 10 warm-up steps), 3 epochs, rows packed
into bins of 1,024 tokens that do not see each other, 8 bins a step, loss on the outputs; then the summed loss of every
row of H, the mean loss on V, and for some cells greedy answers (token ids) to the packaged raw prompts.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import shutil
import sys
import tempfile
import time
import traceback
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_model import (
    ALPHA,
    RATE,
    R,
    adapt,
    as_safetensors,
    gradient,
    influences,
    load_model,
    row_losses,
    train,
)
from benchmarks.which_rows_picks import Rows
from curate.tokens.tokenizers import EncodedExample
from evaluate_suite.generation.record import DecodingSettings, GenerationTask
from evaluate_suite.generation.slots import decode_in_slots

NEW_TOKENS = 256
REFERENCE_DRAW = 5000
CHECKPOINTS = (0.3, 1.0)  # of the reference run's steps
SLICES = 16  # of the pool, one task each
INFLUENCE = "influence.npz"


class Worker:
    """One process's model, and the tasks it can do."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        self.rows = Rows(args.plan)
        self.model = load_model(args.model, self.device, self.dtype)
        self.plain = copy.deepcopy(self.model)  # what generates: adapters are added to its weights
        self.layers = adapt(self.model)
        self.args, self.scratch = args, Path(args.scratch)
        self.influence: Any = None
        self.names: list[str] = []

    def do(self, task: dict[str, Any]) -> dict[str, Any]:
        """Return what a task gives."""
        started = time.perf_counter()
        kind = task.get("task", "cell")
        result = {"reference": self.reference, "influence": self.score, "cell": self.cell}[kind](task)
        return result | {"seconds": round(time.perf_counter() - started, 2)}

    def cell(self, task: dict[str, Any]) -> dict[str, Any]:
        """Pick, train on what was picked, and measure."""
        started = time.perf_counter()
        task["rows"] = self.rows.pick(task, self.influence_a_token(task))
        picked = time.perf_counter() - started
        examples = [self.rows.examples[i] for i in task["rows"]]
        tokens = sum(len(example.input_ids) for example in examples)
        if cut := task.get("cut"):  # the notebook's packing
            stream = [token for example in examples for token in example.input_ids]
            examples = [EncodedExample(stream[i : i + cut], 0) for i in range(0, len(stream) - cut + 1, cut)]
        on_prompt = bool(task.get("loss_on_prompt"))
        train(self.model, self.layers, examples, task["draw"], on_prompt, self.args.max_steps)
        trained = time.perf_counter() - started - picked
        result: dict[str, Any] = {"rows": task["rows"], "tokens": tokens}
        result |= {"pick_seconds": round(picked, 2), "train_seconds": round(trained, 2)}
        on_h = row_losses(self.model, [self.rows.examples[i] for i in self.rows.held_out], self.device)
        on_v = row_losses(self.model, [self.rows.examples[i] for i in self.rows.steering], self.device)
        result["H"] = [total for total, _ in on_h]
        result["V"] = round(sum(total for total, _ in on_v) / sum(n for _, n in on_v), 6)
        if task.get("generate"):
            try:
                result["answers"] = self.answers()
            except Exception as error:  # the losses stand without it
                result["answers_failed"] = f"{type(error).__name__}: {error}"[:300]
        return result

    def influence_a_token(self, task: dict[str, Any]) -> Any:
        """Return the pool's influence in the task's direction, a token of the row; None where it has none."""
        if "direction" not in task:
            return None
        if self.influence is None:
            saved = np.load(self.args.out / INFLUENCE)
            self.influence, self.names = saved["influence"].astype(np.float64), saved["names"].tolist()
        by_row = self.influence[:, self.names.index(task["direction"])]
        return by_row / self.rows.data["lengths"][self.rows.pool]

    @torch.no_grad()
    def answers(self) -> dict[str, list[Any]]:
        """Return (new ids, whether it ended itself) by prompt, greedily, with the adapters added to the weights."""
        names = [
            name for name, module in self.plain.named_modules() if isinstance(module, nn.Linear) and name != "lm_head"
        ]
        for name, layer in zip(names, self.layers, strict=True):
            added = layer.weight.float() + (ALPHA / R) * layer.b @ layer.a
            self.plain.get_submodule(name).weight.data.copy_(added)
        items = list(self.rows.plan["prompts"].items())[: self.args.prompts]
        tasks = [GenerationTask(prompt_id, "", ids) for prompt_id, ids in items]
        settings = DecodingSettings(max_new_tokens=NEW_TOKENS if self.device == "cuda" else 8)
        decoded = decode_in_slots(self.plain, [self.rows.plan["end_token"]], 0, tasks, settings)
        return {tasks[place].prompt_id: [list(map(int, ids)), bool(ended)] for place, ids, ended in decoded}

    def reference(self, task: dict[str, Any]) -> dict[str, Any]:
        """Train the reference run; at each checkpoint keep adapters and the directions of influence in scratch files.

        A direction is the gradient of the loss on V, or on a target, divided as Adam divides it there.
        """
        wanted: dict[str, Any] = {"V": self.rows.steering}
        for draw, of_draw in enumerate(self.rows.data["targets"][: task["draws"]]):
            wanted |= {f"{s} {draw}": rows for s, rows in zip(self.rows.plan["sources"], of_draw, strict=True)}
        kept: list[int] = []
        parameters = [p for layer in self.layers for p in (layer.a, layer.b)]

        def keep(step: int, of: int, optimizer: torch.optim.AdamW, rate: float) -> None:
            if step not in {max(1, math.ceil(share * of)) for share in CHECKPOINTS}:
                return
            rate = max(rate, 0.1 * RATE)
            second = [optimizer.state[p]["exp_avg_sq"] / (1 - 0.999**step) for p in parameters]
            directions = []
            for rows in wanted.values():
                own = gradient(self.model, self.layers, [self.rows.examples[i] for i in rows])
                directions.append(
                    [(rate * g / (v.sqrt() + 1e-8)).to(self.dtype) for g, v in zip(own, second, strict=True)]
                )
            saved = {
                "adapters": [p.detach().cpu() for p in parameters],
                "directions": [torch.stack(parts).cpu() for parts in zip(*directions, strict=True)],
            }
            torch.save(saved, self.scratch / f"checkpoint-{len(kept)}.pt")
            kept.append(step)

        examples = [self.rows.examples[i] for i in task["rows"]]
        train(self.model, self.layers, examples, REFERENCE_DRAW, max_steps=self.args.max_steps, at_step=keep)
        return {"checkpoints": len(kept), "directions": list(wanted)}

    def score(self, task: dict[str, Any]) -> dict[str, Any]:
        """Return the influence (rows x directions) of a slice of the pool, summed over the checkpoints."""
        examples = [self.rows.examples[i] for i in self.rows.pool[task["start"] : task["stop"]]]
        scores = np.zeros((len(examples), 0))
        for number in range(task["checkpoints"]):
            saved = torch.load(self.scratch / f"checkpoint-{number}.pt", map_location=self.device)
            for place, layer in enumerate(self.layers):
                layer.a.data, layer.b.data = (saved["adapters"][2 * place + i].to(self.device) for i in (0, 1))
            at_checkpoint = influences(self.model, self.layers, saved["directions"], examples)
            scores = at_checkpoint if number == 0 else scores + at_checkpoint
        return {"influence": scores.tolist()}


def work(pipe: Any, args: argparse.Namespace) -> None:
    """A worker process: tasks in, results out, until None comes."""
    try:
        torch.set_num_threads(1)
        worker = Worker(args)
    except Exception:
        pipe.send({"failed": traceback.format_exc()[-2000:], "fatal": True})
        return
    pipe.send({"ready": True})
    while (task := pipe.recv()) is not None:
        try:
            pipe.send(worker.do(task))
        except Exception:
            if worker.device == "cuda":
                torch.cuda.empty_cache()
            pipe.send({"failed": traceback.format_exc()[-1500:]})


class Study:
    """What is to do, what is done, and where results go."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.rows = args, Rows(args.plan)
        self.deadline = time.perf_counter() + args.seconds
        self.results = args.out / "results.jsonl"
        self.has_influence = False
        self.names: list[str] = []
        done = {key(json.loads(line)) for file in [*args.done, self.results] if file.is_file() for line in file.open()}
        self.cells = [cell for cell in self.rows.plan["cells"] if key(cell) not in done][: args.cells]
        self.first: list[dict[str, Any]] = []
        self.parts: dict[int, Any] = {}
        self.load_influence()

    def load_influence(self) -> None:
        """Take up an earlier call's scores, or plan to make them."""
        if self.args.without_influence:
            return
        own = self.args.out / INFLUENCE
        for file in [own, *(f.parent / INFLUENCE for f in self.args.done)]:
            if file.is_file():
                if file != own:
                    shutil.copy(file, own)
                self.has_influence = True
                return
        draws = len(self.rows.data["targets"]) if self.args.cells is None else 1
        luck = np.random.default_rng(REFERENCE_DRAW).permutation(len(self.rows.pool))
        enough = np.cumsum(self.rows.data["lengths"][self.rows.pool[luck]]) <= self.rows.plan["budget"]
        self.first = [{"task": "reference", "rows": self.rows.pool[luck][enough].tolist(), "draws": draws}]

    def next(self) -> dict[str, Any] | None:
        """Return the next task that can be done now; None where none is left in time."""
        if time.perf_counter() > self.deadline:
            return None
        if self.first:
            return self.first.pop(0)
        for place, cell in enumerate(self.cells):
            if "direction" in cell and not self.has_influence:
                continue
            del self.cells[place]
            return cell
        return None

    def take(self, task: dict[str, Any], result: dict[str, Any]) -> None:
        """Record a result."""
        kind = task.get("task", "cell")
        if kind == "reference" and "failed" not in result:
            self.names = result["directions"]
            edges = np.linspace(0, len(self.rows.pool), SLICES + 1).astype(int).tolist()
            self.first = [
                {"task": "influence", "start": a, "stop": b, "checkpoints": result["checkpoints"]}
                for a, b in itertools.pairwise(edges)
            ]
        if kind == "influence" and "failed" in result and not task.get("again"):
            self.first.append(task | {"again": True})
        if kind == "influence" and "failed" not in result:
            self.parts[task["start"]] = np.array(result.pop("influence"))
            if len(self.parts) == SLICES:
                scores = np.concatenate([self.parts[start] for start in sorted(self.parts)]).astype(np.float32)
                np.savez_compressed(self.args.out / INFLUENCE, influence=scores, names=np.array(self.names))
                self.has_influence = True
        record = {name: value for name, value in task.items() if name != "rows"} | result
        record.pop("directions", None)
        if (answers := record.pop("answers", None)) is not None:
            with (self.args.out / "answers.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key(task), "answers": answers}) + "\n")
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        said = {
            name: record.get(name) for name in ("task", "cell", "target", "draw", "budget", "seconds", "train_seconds")
        }
        print(
            json.dumps({k: v for k, v in said.items() if v is not None} | {"failed": result.get("failed", "")[-300:]}),
            flush=True,
        )


def key(cell: dict[str, Any]) -> str:
    """What names a cell. A failed one is tried again."""
    if "failed" in cell or "task" in cell:
        return ""
    return json.dumps([cell["cell"], cell["draw"], cell["budget"], cell.get("target")])


def run(args: argparse.Namespace) -> None:
    """Hand out tasks until all are done or time is up."""
    args.out.mkdir(parents=True, exist_ok=True)
    args.scratch = tempfile.mkdtemp()
    study = Study(args)
    args.model = as_safetensors(args.model, Path(args.scratch))
    context = get_context("spawn")
    pipes: dict[Any, Any] = {}
    waiting: Any = connection.wait
    busy: dict[Any, dict[str, Any] | None] = {}
    for _ in range(args.workers):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, args), daemon=True)
        process.start()
        theirs.close()
        pipes[ours], busy[ours] = process, None
    idle: list[Any] = []
    hard = study.deadline + args.grace
    while pipes and time.perf_counter() < hard:
        for pipe in waiting(list(pipes), timeout=1.0):
            try:
                result = pipe.recv()
            except (EOFError, OSError):
                result = {"failed": "the worker died", "fatal": True}
            if (done := busy[pipe]) is not None:
                study.take(done, result)
            elif result.get("failed"):
                print(result["failed"], flush=True)
            busy[pipe] = None
            if result.get("fatal"):
                del pipes[pipe]
            else:
                idle.append(pipe)
        for pipe in list(idle):
            task = study.next()
            if task is not None:
                busy[pipe] = task
                pipe.send(task)
                idle.remove(pipe)
        if not any(busy[pipe] for pipe in pipes) and len(idle) == len(pipes):
            break
    for pipe, process in pipes.items():
        if pipe in idle:
            pipe.send(None)
        else:
            process.kill()
    shutil.rmtree(args.scratch, ignore_errors=True)
    print(
        json.dumps({"cells_left": len(study.cells), "seconds_left": round(study.deadline - time.perf_counter(), 1)}),
        flush=True,
    )


def main() -> None:
    """Run the study, or a check of its parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=510)
    parser.add_argument("--grace", type=float, default=30, help="for cells under way when the seconds are over")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--done", type=Path, nargs="*", default=[])
    parser.add_argument("--without-influence", action="store_true", help="leave out the cells that need it")
    parser.add_argument("--cells", type=int, help="only the first so many cells: for a trial")
    parser.add_argument("--max-steps", type=int, help="of each training: for a trial")
    parser.add_argument("--prompts", type=int, help="only the first so many: for a trial")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
