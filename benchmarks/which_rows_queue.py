"""What the study "which rows?" does next: cells and their names, rows picked ahead, selectors chosen on V."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_picks import Rows
from benchmarks.which_rows_steps import training_steps
from curate.tokens.tokenizers import EncodedExample

INFLUENCE, LAWS, WEIGHTS = "influence.npz", "laws.json", "weights.json"

NO_WORSE = 0.001  # of random's loss


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
        if name := cell.get("fitted_for"):
            fitted = json.loads((self.out / WEIGHTS).read_text(encoding="utf-8"))[name]["features"]
            cell = cell | {"weights": cell["weights"] | {"features": fitted}}
        chosen = self.rows.pick(cell, self.influence)
        picked = time.perf_counter() - started
        examples = [self.rows.examples[i] for i in chosen]
        tokens = sum(len(example.input_ids) for example in examples)
        if cut := cell.get("cut"):  # the notebook's packing
            stream = [token for example in examples for token in example.input_ids]
            examples = [EncodedExample(stream[i : i + cut], 0) for i in range(0, len(stream) - cut + 1, cut)]
        steps = training_steps(examples, seed_of(cell), bool(cell.get("loss_on_prompt")))
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
    terms = {"V", "stop", "own", "as H", "features"}
    return "direction" in cell or "fitted_for" in cell or bool(terms & set(cell.get("weights", {})))


def seed_of(cell: Mapping[str, Any]) -> int:
    """Return the seed of a cell's training: its draw, or the luck that it shares with others."""
    return int(cell.get("luck", cell["draw"]))


def is_plain(cell: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Return whether a cell has no target and the study's own budget."""
    return "target" not in cell and cell["budget"] == plan["budget"]


def size_of(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what cells must have in common to be trained together."""
    return cell["budget"], str(cell.get("generate") or ""), bool(cell.get("proxy"))


class Claims:
    """Which cells are being made, by whichever process: a file a cell, empty until the cell is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, name: str) -> Path:
        return self.folder / sha256(name.encode()).hexdigest()

    def take(self, name: str) -> bool:
        """Return whether it is now this process's to make."""
        try:
            self._file(name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def taken(self, name: str) -> bool:
        """Return whether somebody makes it, or has."""
        return self._file(name).exists()

    def finish(self, name: str) -> None:
        """Say that it is made, or cannot be."""
        self._file(name).write_text("there", encoding="utf-8")

    def release(self, name: str) -> None:
        """Leave it to whoever takes it next."""
        self._file(name).unlink()

    def over(self, name: str) -> bool:
        """Return whether it is made, or cannot be."""
        file = self._file(name)
        return file.exists() and file.stat().st_size > 0

    def in_work(self) -> bool:
        """Return whether anything is still being made."""
        return any(file.stat().st_size == 0 for file in self.folder.iterdir())


def choose(
    cells: list[dict[str, Any]], plan: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], without_influence: bool
) -> None:
    """Give the cells of a selector that is to be chosen on V the selector that was best there, once that is known.

    What counts is the loss on V, its sources weighted as H has them ("steered"). What is chosen by "ended" is the
    selector whose answers end themselves most often, among those not worse than random by a tenth of a percent. H has
    no part in it.
    """
    if not any("choose" in cell for cell in cells):
        return
    done = {(line["cell"], line["draw"]): line for line in lines if "steered" in line and is_plain(line, plan)}
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
            own = [line for draw in draws if (line := done.get((name, draw))) is not None]
            if len(own) < len(draws):
                continue
            worse = np.mean([line["steered"] / done["random", line["draw"]]["steered"] - 1 for line in own])
            if cell["choose"]["by"] == "steered":
                score[name] = -worse
            elif worse <= NO_WORSE and all("prompts_ended" in line for line in own):
                score[name] = np.mean([line["prompts_ended"] for line in own])
        if score:
            best = max(score, key=lambda name: score[name])
            own_terms = {k: v for k, v in planned[best, draws[0]].items() if k not in ("draw", "cell", "generate")}
            cells[place] = {k: v for k, v in cell.items() if k != "choose"} | own_terms | {
                "budget": cell["budget"], "chosen": best,
            }  # fmt: skip
