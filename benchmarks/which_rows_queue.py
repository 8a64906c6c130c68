"""What the study "which rows?" does next: cells and their names, rows picked ahead, selectors chosen on V."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_picks import Rows
from benchmarks.which_rows_steps import training_steps
from curate.tokens.tokenizers import EncodedExample

INFLUENCE, LAWS = "influence.npz", "laws.json"


class Picker:
    """Picks a cell's rows and lays out its steps; every picking process has one."""

    def __init__(self, plan: Path, out: Path) -> None:
        self.rows, self.out = Rows(plan), out
        self.influence: dict[str, Any] | None = None

    def prepare(self, cell: dict[str, Any]) -> dict[str, Any]:
        """Return the cell's rows, their tokens, its training steps and how long picking took."""
        started = time.perf_counter()
        if self.influence is None and (self.out / INFLUENCE).is_file():
            saved = np.load(self.out / INFLUENCE)
            lengths = self.rows.data["lengths"][self.rows.pool]
            by_row = saved["influence"].astype(np.float64) / lengths[:, None]
            self.influence = dict(zip(saved["names"].tolist(), by_row.T, strict=True))
        if name := cell.get("law"):
            shares = json.loads((self.out / LAWS).read_text(encoding="utf-8"))[name]["shares"]
            cell = cell | {"weights": cell["weights"] | {"shares": shares}}
        chosen = self.rows.pick(cell, self.influence)
        picked = time.perf_counter() - started
        examples = [self.rows.examples[i] for i in chosen]
        tokens = sum(len(example.input_ids) for example in examples)
        if cut := cell.get("cut"):  # the notebook's packing
            stream = [token for example in examples for token in example.input_ids]
            examples = [EncodedExample(stream[i : i + cut], 0) for i in range(0, len(stream) - cut + 1, cut)]
        steps = training_steps(examples, cell["draw"], bool(cell.get("loss_on_prompt")))
        return {"rows": chosen, "tokens": tokens, "pick_seconds": round(picked, 2), "steps": steps}


def start_picking(plan: Path, out: Path) -> None:
    """Set up a picking process."""
    torch.set_num_threads(1)
    PICKERS.append(Picker(plan, out))


def prepare(cell: dict[str, Any]) -> dict[str, Any]:
    """Pick in this process."""
    return PICKERS[-1].prepare(cell)


PICKERS: list[Picker] = []


def needs_influence(cell: Mapping[str, Any]) -> bool:
    """Return whether a cell's rows are picked by influence."""
    return "direction" in cell or bool({"V", "stop", "own"} & set(cell.get("weights", {})))


def is_plain(cell: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Return whether a cell has no target and the study's own budget."""
    return "target" not in cell and cell["budget"] == plan["budget"]


def size_of(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what cells must have in common to be trained together."""
    return cell["budget"], str(cell.get("generate") or ""), bool(cell.get("proxy"))


def key(cell: Mapping[str, Any]) -> str:
    """What names a cell. A failed one is tried again."""
    if "failed" in cell or "task" in cell:
        return ""
    return json.dumps([cell["cell"], cell["draw"], cell["budget"], cell.get("target")])


def choose(
    cells: list[dict[str, Any]], plan: Mapping[str, Any], files: Sequence[Path], without_influence: bool
) -> None:
    """Give the cells of a selector that is to be chosen on V the selector that was best there, once that is known.

    What is chosen by "ended" is the selector whose answers end themselves most often, among those not worse than
    random by a tenth of a percent on V. H has no part in it.
    """
    if not any("choose" in cell for cell in cells):
        return
    lines = [json.loads(line) for file in files if file.is_file() for line in file.open()]
    done = {(line["cell"], line["draw"]): line for line in lines if "V" in line and is_plain(line, plan)}
    planned = {(cell["cell"], cell["draw"]): cell for cell in plan["cells"]}
    for place, cell in enumerate(cells):
        if "choose" not in cell:
            continue
        among, draws = cell["choose"]["among"], cell["choose"]["draws"]
        waiting = any(
            c["cell"] in [*among, "random"]
            and c["draw"] in draws
            and is_plain(c, plan)
            and not (without_influence and needs_influence(c))
            for c in cells
        )
        if waiting or not all(("random", draw) in done for draw in draws):
            continue
        score = {}
        for name in among:
            own = [done.get((name, draw)) for draw in draws]
            if None in own:
                continue
            worse = np.mean([line["V"] / done["random", d]["V"] - 1 for d, line in zip(draws, own, strict=True)])  # type: ignore[index]
            if cell["choose"]["by"] == "V":
                score[name] = -worse
            elif worse <= 0.001 and all("prompts_ended" in line for line in own):  # type: ignore[operator]
                score[name] = np.mean([line["prompts_ended"] for line in own])  # type: ignore[index]
        if score:
            best = max(score, key=lambda name: score[name])
            own_terms = {k: v for k, v in planned[best, draws[0]].items() if k not in ("draw", "cell", "generate")}
            cells[place] = {k: v for k, v in cell.items() if k != "choose"} | own_terms | {
                "budget": cell["budget"], "chosen": best,
            }  # fmt: skip
