"""Train every cell of the study "which rows?", several at once on each accelerator: one JSON line a cell.

    python benchmarks/which_rows.py PLAN --model DIR --out DIR [--seconds 510] [--together 8] [--cards 4] [--done FILE]

PLAN is the folder that `which_rows_plan.py` wrote; --model holds the embedded GGUF (or is a folder of safetensors).
First a reference run is trained and every pool row scored by its influence on V and on each target; then the cells
follow in the plan's order, those of equal size together, while other processes pick the rows of the next ones. Once the
proxy runs are there, the mixing law and the weights of features are fitted on them. With --cards, a process on each
card takes what no other has taken and writes a file of its own, `results-N.jsonl`. No group of cells is begun that
would not end within --seconds; cells in a --done file, or in DIR's own, are not made again.

A cell: LoRA r = 16 on all linear layers, alpha 32, AdamW at 3e-4 (cosine, 10 warm-up steps), 3 epochs, rows packed
into bins of 1,024 tokens that do not see each other, 8 bins a step, loss on the outputs; then the summed loss of every
row of H, the mean loss on V, and for some cells greedy answers (token ids) to the packaged raw prompts or to programs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_answers import answers_of
from benchmarks.which_rows_influence import pool_influence
from benchmarks.which_rows_law import law_of
from benchmarks.which_rows_lines import Lines, key, made
from benchmarks.which_rows_model import as_safetensors, load_model
from benchmarks.which_rows_picks import Rows
from benchmarks.which_rows_queue import (
    INFLUENCE,
    LAWS,
    WEIGHTS,
    Claims,
    choose,
    needs_influence,
    prepare,
    seed_of,
    size_of,
    start_picking,
)
from benchmarks.which_rows_together import Adapters, Together, train_together
from benchmarks.which_rows_weights import recommend
from curate.tokens.tokenizers import EncodedExample

NEW_TOKENS = 256
WAIT = 0.5  # seconds between two looks at what others have made
AHEAD = 24  # cells whose rows are picked before they are needed


class Study:
    """The model, what is to do, what is done, and where results go."""

    def __init__(self, args: Namespace) -> None:
        self.args, self.rows = args, Rows(args.plan)
        self.deadline = args.started + args.seconds  # by the wall clock, which processes share
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        self.name = "" if args.card is None else f"-{args.card}"  # of this process's files
        self.results = args.out / f"results{self.name}.jsonl"
        self.lines, self.claims = Lines(), Claims(args.claims)
        done = {key(line) for line in self.finished() if made(line)}
        planned: list[dict[str, Any]] = self.rows.plan["cells"]
        self.cells = list({key(cell): cell for cell in planned if key(cell) not in done}.values())[: args.cells]
        for name in (INFLUENCE, LAWS, WEIGHTS):  # an earlier call's
            earlier = [file.parent / name for file in args.done if (file.parent / name).is_file()]
            if earlier and not (args.out / name).is_file():
                shutil.copy(earlier[0], args.out / name)
        self.picked: dict[str, Future[dict[str, Any]]] = {}
        self.seconds: dict[tuple[Any, ...], float] = {}  # a group of a size took last
        self.model = load_model(args.model, self.device, self.dtype)
        self.together = Together(self.model)
        self.size = args.together

    def finished(self) -> list[dict[str, Any]]:
        """Return every result so far, of whichever process and call."""
        return self.lines.of([*self.args.done, *sorted(self.args.out.glob("results*.jsonl"))])

    def score_pool(self) -> None:
        """Score every pool row by its influence on V, on stopping and on every target; write the scores."""
        started = time.perf_counter()
        names, scores = pool_influence(self.model, self.rows, self.dtype, self.args.target_draws, self.args.max_steps)
        if self.device == "cuda":
            torch.cuda.empty_cache()
        half = self.args.out / f"half-{INFLUENCE}"
        np.savez_compressed(half, influence=scores.astype(np.float32), names=np.array(names))
        half.replace(self.args.out / INFLUENCE)
        peak = torch.cuda.max_memory_allocated() if self.device == "cuda" else 0
        self._write({"task": "influence", "seconds": round(time.perf_counter() - started, 1), "peak_bytes": peak})

    def _examples(self, rows: Any) -> list[EncodedExample]:
        return [self.rows.examples[i] for i in rows]

    def fit_once(self, file: str, proxies: str, fit: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        """Write what is fitted on proxy runs once all of these are there, in whichever process sees it first."""
        if (self.args.out / file).is_file() or any(cell["cell"] == proxies for cell in self.cells):
            return
        runs = [line for line in self.finished() if line.get("cell") == proxies and "steered" in line]
        if not runs or not self.claims.take(file):
            return
        try:
            fitted = fit(runs)
            half = self.args.out / f"half-{file}"
            half.write_text(json.dumps(fitted), encoding="utf-8")
            half.replace(self.args.out / file)
        except Exception:  # the cells that need it are left out
            say(failed=traceback.format_exc()[-600:])
        self.claims.finish(file)

    def ready(self, cell: Mapping[str, Any]) -> bool:
        """Return whether what the cell's rows are picked by is there."""
        if "choose" in cell:
            return False
        needed = [(needs_influence(cell), INFLUENCE), ("law" in cell, LAWS), ("fitted_for" in cell, WEIGHTS)]
        return all((self.args.out / name).is_file() for wanted, name in needed if wanted)

    def next_group(self, pool: Executor) -> list[dict[str, Any]]:
        """Return the next cells of one size, now this process's, and have the rows of the following ones picked."""
        over = {key(cell) for cell in self.cells if self.claims.over(key(cell))}  # first: their lines are there then
        lines = self.finished()
        over |= {key(line) for line in lines if made(line)}
        self.cells = [cell for cell in self.cells if key(cell) not in over]
        self.picked = {name: rows for name, rows in self.picked.items() if name not in over}
        choose(self.cells, self.rows.plan, lines, self.args.without_influence)
        free = (c for c in self.cells if self.ready(c) and not self.claims.taken(key(c)))
        ready = list(itertools.islice(free, 3 * AHEAD))
        group: list[dict[str, Any]] = []
        for cell in ready:
            if (
                len(group) < self.size
                and size_of(cell) == size_of((group or [cell])[0])
                and self.claims.take(key(cell))
            ):
                group.append(cell)
        for cell in [*group, *ready[:AHEAD]]:
            if key(cell) not in self.picked:
                self.picked[key(cell)] = pool.submit(prepare, cell)
        return group

    def expected(self, group: list[dict[str, Any]]) -> float:
        """Return how many seconds a group will take, by the last of its size, or by the slowest token so far."""
        if (known := self.seconds.get(size_of(group[0]))) is not None:
            return known
        whole = float(self.rows.plan["budget"])
        slowest = max((seconds / (size[0] or whole) for size, seconds in self.seconds.items()), default=0.0)
        return slowest * (group[0]["budget"] or whole)

    def run_group(self, group: list[dict[str, Any]]) -> None:
        """Train and measure the cells of a group; one whose rows cannot be picked is recorded with its error."""
        started = time.perf_counter()
        self.cells = [cell for cell in self.cells if cell not in group]
        prepared = []
        for cell in group:
            try:
                prepared.append((cell, self.picked.pop(key(cell)).result()))
            except Exception as error:
                self._fail(cell, f"{type(error).__name__}: {error}"[:1500])
        group = [cell for cell, _ in prepared]
        if not group:
            return
        waited = time.perf_counter() - started
        steps = [(seed_of(cell), given["steps"]) for cell, given in prepared]
        if self.device == "cuda":  # groups of one shape are compiled once
            steps += [steps[-1]] * (self.size - len(steps))
        adapters = train_together(self.together, steps, self.args.max_steps)
        if self.device == "cuda":
            torch.cuda.synchronize()
        trained = time.perf_counter() - started - waited
        proxy = all(cell.get("proxy") for cell in group)
        on_h = None if proxy else self.together.row_losses(adapters, self._examples(self.rows.held_out))
        on_v = self.together.row_losses(adapters, self._examples(self.rows.steering))
        n_v, v_source = self.rows.learned(self.rows.steering), self.rows.data["source"][self.rows.steering]
        generated = self.generate(group, adapters)
        seconds = round((time.perf_counter() - started) / len(group), 2)
        for place, (cell, given) in enumerate(prepared):
            result = {name: value for name, value in given.items() if name != "steps"} | {
                "V": round(float(on_v[place].sum() / n_v.sum()), 6),
                "V_sources": [
                    round(float(on_v[place][v_source == name].sum() / max(1.0, n_v[v_source == name].sum())), 6)
                    for name in self.rows.plan["sources"]
                ],
                "seconds": seconds,
                "train_seconds": round(trained / len(group), 2),
            }
            result["steered"] = round(float(self.rows.source_weights() @ result["V_sources"]), 6)
            if on_h is not None:
                result["H"] = [round(float(total), 3) for total in on_h[place]]
            if cell["cell"] == "proxy":
                result["V_rows"] = [round(float(total), 2) for total in on_v[place]]
            for kind, answers in generated.items():
                ends = [ended for _, ended in answers[place].values()]
                result[f"{kind}_ended"] = round(sum(ends) / max(1, len(ends)), 4)
                with (self.args.out / f"{kind}{self.name}.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key(cell), "answers": answers[place]}) + "\n")
            self._write(cell | result)
            self.claims.finish(key(cell))
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else 0
        say(
            cells=[f"{c['cell']} {c.get('target', '')} {c['draw']}" for c in group], size=size_of(group[0]),
            waited=round(waited, 1), train=round(trained / len(group), 2), each=seconds, peak_gib=round(peak, 1),
            left=len(self.cells), at=round(time.time() - self.args.started),
        )  # fmt: skip

    def generate(self, group: list[dict[str, Any]], adapters: Adapters) -> dict[str, list[dict[str, list[Any]]]]:
        """Return, for each set of prompts the group's cells answer, every cell's answers."""
        generated = {}
        leaves = adapters.leaves() if group[0].get("generate") else []
        for kind in group[0].get("generate") or ():
            prompts = dict(itertools.islice(self.rows.plan[kind].items(), self.args.prompts))
            try:
                if self.device == "cuda":
                    torch.cuda.empty_cache()
                new = NEW_TOKENS if self.device == "cuda" else 8
                generated[kind] = answers_of(self.together, leaves, prompts, self.rows.plan["end_token"], new)
            except Exception as error:  # the losses stand without it
                say(answers_failed=f"{type(error).__name__}: {error}"[:300])
        return generated

    def _write(self, record: dict[str, Any]) -> None:
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _fail(self, cell: dict[str, Any], why: str) -> None:
        self._write(cell | {"failed": why})
        self.claims.finish(key(cell))

    def work(self, pool: Executor) -> None:
        """Do everything that is left and fits into the time."""
        scores = self.args.card in (None, 0) and not (
            self.args.without_influence or (self.args.out / INFLUENCE).is_file()
        )
        if scores:
            self.claims.take(INFLUENCE)
            try:
                self.score_pool()
            except Exception:  # everything else is done without it
                say(failed=traceback.format_exc()[-1500:])
                self.args.without_influence = True
            self.claims.finish(INFLUENCE)
        while True:
            self.fit_once(LAWS, "proxy", partial(law_of, self.rows))
            self.fit_once(WEIGHTS, "weighted proxy", recommend)
            others = self.claims.in_work()  # before looking: what they have just made counts
            group = self.next_group(pool)
            if not group and others and time.time() < self.deadline:
                time.sleep(WAIT)  # for what other processes are making
                continue
            if not group:
                break
            if time.time() + self.expected(group) > self.deadline:
                for cell in group:
                    self.claims.release(key(cell))
                break
            started = time.perf_counter()
            try:
                self.run_group(group)
                self.seconds[size_of(group[0])] = time.perf_counter() - started
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                self.size = max(1, self.size // 2)
                say(out_of_memory=True, together=self.size)
                for cell in group:
                    self.claims.release(key(cell))
                self.cells = [*group, *self.cells]
            except Exception:
                for cell in group:
                    self._fail(cell, traceback.format_exc()[-1500:])
                say(failed=traceback.format_exc()[-600:])
        say(cells_left=len(self.cells), seconds_left=round(self.deadline - time.time(), 1))


def say(**what: Any) -> None:
    """Print one JSON line."""
    print(json.dumps(what), flush=True)


def run_card(args: Namespace) -> None:
    """Do what one process does, on the one card that it sees."""
    if args.pickers:
        pool: Executor = ProcessPoolExecutor(args.pickers, get_context("spawn"), start_picking, (args.plan, args.out))
    else:
        start_picking(args.plan, args.out)
        pool = ThreadPoolExecutor(1)
    try:
        Study(args).work(pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run(args: Namespace) -> None:
    """Do the study, or as much as there is time for."""
    args.started = time.time()
    if args.pickers:  # many processes beside each other: a thread each, or they stand in each other's way
        os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        own = Namespace(**vars(args) | {"claims": Path(scratch) / "claims", "card": None})
        own.claims.mkdir()
        own.model = as_safetensors(args.model, Path(scratch))
        if args.cards == 1:
            run_card(own)
            return
        processes = []
        for card in range(args.cards):
            os.environ["CUDA_VISIBLE_DEVICES"] = str(card)
            process = get_context("spawn").Process(target=run_card, args=(Namespace(**vars(own) | {"card": card}),))
            process.start()
            processes.append(process)
        for process in processes:
            process.join()


def main() -> None:
    """Run the study, or a check of its parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=510)
    parser.add_argument("--together", type=int, default=8, help="cells trained at once")
    parser.add_argument("--cards", type=int, default=1, help="processes, each on a card of its own")
    parser.add_argument("--pickers", type=int, default=6, help="processes that pick rows; 0 picks in this one")
    parser.add_argument("--done", type=Path, nargs="*", default=[])
    parser.add_argument("--without-influence", action="store_true", help="leave out the cells that need it")
    parser.add_argument("--target-draws", type=int, help="only the first so many draws of targets: for a trial")
    parser.add_argument("--cells", type=int, help="only the first so many cells: for a trial")
    parser.add_argument("--max-steps", type=int, help="of each training: for a trial")
    parser.add_argument("--prompts", type=int, help="only the first so many: for a trial")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
