"""The rows of the study "which rows?" and what each cell picks of them, by the project's own strategies."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.strategies.budget import pick_tokens
from curate.strategies.coordinated import row_luck
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates, Picks
from curate.strategies.weighted import normal_scores, weighted_order
from curate.tokens.tokenizers import EncodedExample

NOTEBOOK_ROWS = 1000


class Rows:
    """The plan's rows as examples of the project, and what the selectors need of them."""

    def __init__(self, plan: Path) -> None:
        self.data = dict(np.load(plan / "rows.npz"))
        self.plan = json.loads((plan / "cells.json").read_text(encoding="utf-8"))
        ends = np.cumsum(self.data["lengths"])
        ids = self.data["ids"].astype(np.int64)
        self.examples = [
            EncodedExample(ids[end - n : end].tolist(), int(p))
            for end, n, p in zip(ends, self.data["lengths"], self.data["prompt_lengths"], strict=True)
        ]
        self.pool, self.held_out, self.steering = (np.flatnonzero(self.data["role"] == r) for r in ("pool", "H", "V"))

    def candidates(self, cell: dict[str, Any], influence: NDArray[np.float64] | None) -> Candidates:
        """Return the pool as the cell's selector sees it: no row of H, and of V only the vectors of the target.

        `influence` (n,) is a token's, in the cell's direction.
        """
        data, draw, pool = self.data, cell["draw"], self.pool
        vectors = data["vectors"].astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = {"well_formed": data["form"]}
        if influence is not None:
            scores["influence"] = influence
        target = None
        if "target" in cell:
            place = self.plan["sources"].index(cell["target"])
            odds = data["prompt_odds" if cell.get("words") == "prompts" else "odds"]
            target = vectors[data["targets"][draw, place]] if draw < len(odds) else None
            scores["target_words"] = odds[draw, place].astype(np.float64)
        return Candidates(
            embeddings=vectors[pool],
            labels=data["labels"],
            centres=data["centres"],
            token_counts=data["lengths"][pool],
            prompt_chars=data["prompt_chars"][pool],
            output_chars=data["output_chars"][pool],
            row_index=pool,
            scores=scores,
            target=target,
            luck=row_luck(data["row_ids"][pool].tolist(), draw),
        )

    def strata(self) -> NDArray[np.int64]:
        """Return the stratum (n,) of every pool row: its source and its third by length."""
        counts = self.data["lengths"][self.pool]
        thirds = np.digitize(counts, np.quantile(counts, [1 / 3, 2 / 3])).astype(str)
        names = np.char.add(self.data["source"][self.pool].astype(str), thirds)
        return np.asarray(np.unique(names, return_inverse=True)[1])

    def pick(self, cell: dict[str, Any], influence: NDArray[np.float64] | None = None) -> list[int]:
        """Return what the cell's strategy picks, as places among all rows."""
        if cell.get("equal_sources"):
            part = cell["budget"] // len(self.plan["sources"])
            own = {name: value for name, value in cell.items() if name != "equal_sources"}
            return [i for s in self.plan["sources"] for i in self.pick(own | {"only": s, "budget": part})]
        pool = self.candidates(cell, influence)
        if only := cell.get("only"):
            pool = pool.take(
                np.flatnonzero(self.data["source"][self.pool] == (cell["target"] if only is True else only))
            )
        if cell["budget"] is None:  # the notebook's rows
            order = np.argsort(pool.prompt_chars, kind="stable")[:NOTEBOOK_ROWS]
            return [int(i) for i in pool.row_index[order]]
        select = STRATEGIES[cell["strategy"]].bind(cell.get("options", {}))
        if cell.get("strata") or cell.get("tilt"):
            select = partial(self.tilted, cell)
        picks = pick_tokens(
            select, pool, cell["budget"], np.random.default_rng([cell["draw"], 2]), self.plan["near_duplicate"]
        )
        return [int(pool.row_index[i]) for i in picks.indices]

    def tilted(self, cell: dict[str, Any], pool: Candidates, k: int, rng: np.random.Generator) -> Picks:
        """Draw by influence within strata, or by influence and form: tried here, no strategies of the project."""
        influence, strata = pool.scores["influence"], self.strata()
        weights = normal_scores(influence)
        if cell.get("strata"):
            for stratum in np.unique(strata):
                weights[strata == stratum] = normal_scores(influence[strata == stratum])
        weights = cell["options"]["sharpness"] * weights
        if cell.get("tilt"):
            weights = weights + 8.0 * pool.scores["well_formed"] - 0.5 * np.log(np.maximum(1, pool.prompt_chars))
        order = weighted_order(pool, weights, rng)[:k]
        return Picks(order, ["drawn by influence"] * len(order))
