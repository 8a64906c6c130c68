"""The rows of the study "which rows?" and what each cell picks of them, by the project's own strategies."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curate.strategies.budget import pick_tokens
from curate.strategies.coordinated import row_luck
from curate.strategies.table import STRATEGIES
from curate.strategies.types import Candidates, Picks, Select
from curate.strategies.weighted import normal_scores, weighted_order
from curate.tokens.tokenizers import EncodedExample

NOTEBOOK_ROWS = 1000
AXES = 4  # sides of a source's vectors that weights are fitted on


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
            odds = data[("prompt_" if cell.get("words") == "prompts" else "") + "odds"]
            target = vectors[data["targets"][draw, place]]
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
            luck=row_luck(data["row_ids"][pool].tolist(), cell.get("luck", draw)),
        )

    def strata(self, role: str = "pool") -> NDArray[np.int64]:
        """Return the stratum (n,) of every row of a role: its source, its third by length there, and which side of the
        source's first principal component its vector lies on. The borders are those of the pool."""
        data, pool = self.data, self.pool
        rows = np.flatnonzero(data["role"] == role)
        vectors = data["vectors"].astype(np.float64)
        result = np.zeros(len(rows), dtype=np.int64)
        for number, source in enumerate(self.plan["sources"]):
            own = pool[data["source"][pool] == source]
            if not len(own):
                continue
            here = data["source"][rows] == source
            centre = vectors[own].mean(axis=0)
            axis = np.linalg.svd(vectors[own] - centre, full_matrices=False)[2][0]
            axis *= np.sign(axis[np.argmax(np.abs(axis))])
            thirds = np.digitize(data["lengths"][rows], np.quantile(data["lengths"][own], [1 / 3, 2 / 3]))
            side = (vectors[rows] - centre) @ axis > 0
            result[here] = (6 * number + 2 * thirds + side)[here]
        return result

    def pick(self, cell: dict[str, Any], influence: Mapping[str, NDArray[np.float64]] | None = None) -> list[int]:
        """Return what the cell's strategy picks, as places among all rows. `influence` has a token's by direction."""
        if cell.get("equal_sources"):
            part = cell["budget"] // len(self.plan["sources"])
            own = {name: value for name, value in cell.items() if name != "equal_sources"}
            return [i for s in self.plan["sources"] for i in self.pick(own | {"only": s, "budget": part})]
        direction = cell.get("direction")
        pool = self.candidates(cell, influence[direction] if influence and direction else None)
        if only := cell.get("only"):
            pool = pool.take(
                np.flatnonzero(self.data["source"][self.pool] == (cell["target"] if only is True else only))
            )
        if cell["budget"] is None:  # the notebook's rows
            order = np.argsort(pool.prompt_chars, kind="stable")[:NOTEBOOK_ROWS]
            return [int(i) for i in pool.row_index[order]]
        if "weights" in cell:
            select: Select = partial(drawn, self.log_weights(cell["weights"], influence or {}))
        else:
            select = STRATEGIES[cell["strategy"]].bind(cell.get("options", {}))
        picks = pick_tokens(
            select, pool, cell["budget"], np.random.default_rng([cell["draw"], 2]), self.plan["near_duplicate"]
        )
        return [int(pool.row_index[i]) for i in picks.indices]

    def log_weights(
        self, terms: Mapping[str, Any], influence: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the logarithm of every pool row's weight: a sum of terms, each by a number of its own.

        Tried here; what is no strategy of the project is none because it was not better than one.
        """
        data, pool, strata = self.data, self.pool, self.strata()
        tokens = data["lengths"][pool].astype(np.float64)
        output = tokens - data["prompt_lengths"][pool]
        total = np.zeros(len(pool))
        for direction in ("V", "stop", "own", "as H"):
            if sharpness := terms.get(direction):
                on = self.influence_on(direction, influence)
                score = normal_scores(on)
                if terms.get("in_strata"):
                    for stratum in np.unique(strata):
                        score[strata == stratum] = normal_scores(on[strata == stratum])
                total += sharpness * score
        if "shares" in terms:  # of tokens, by stratum
            now = np.bincount(strata, tokens, len(terms["shares"])) / tokens.sum()
            total += np.log(np.maximum(1e-6, np.array(terms["shares"]) / np.maximum(1e-9, now)))[strata]
        total -= terms.get("prompt", 0.0) * np.log(np.maximum(1.0, data["prompt_chars"][pool]))
        total += terms.get("form", 0.0) * data["form"]
        total -= terms.get("tokens", 0.0) * np.log(tokens)
        if "repeats" in terms:
            total -= terms["repeats"] * np.array([repeated_share(self.examples[i].input_ids) for i in pool])
        if fitted := terms.get("features"):
            of_row = self.features(influence)
            total += sum(by * of_row[name] for name, by in fitted.items())
        if "brief" in terms:  # short answers to short prompts, as many tokens of these as before
            short = data["prompt_chars"][pool] <= np.quantile(data["prompt_chars"][pool], terms.get("below", 0.5))
            shorter = -terms["brief"] * np.log(np.maximum(1.0, output))
            before, after = tokens[short].sum(), (tokens * np.exp(shorter))[short].sum()
            total += np.where(short, shorter + np.log(before / after), 0.0)
        return total

    def influence_on(self, direction: str, influence: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return every pool row's influence a token in a direction: one that was scored, or a mean of such.

        "own" is on V's rows of the row's own source, "as H" on each source's rows of V, weighted as H has them.
        """
        if direction not in ("own", "as H"):
            return influence[direction]
        source = self.data["source"][self.pool]
        by_source = {
            name: np.mean([on for key, on in influence.items() if key.startswith(f"{name} ")], axis=0)
            for name in self.plan["sources"]
        }
        if direction == "own":
            return np.select([source == name for name in by_source], list(by_source.values()))
        return np.asarray(sum(w * on for w, on in zip(self.source_weights(), by_source.values(), strict=True)))

    def learned(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how many tokens of each of these rows have a loss."""
        prompts = np.maximum(1, self.data["prompt_lengths"][rows])
        return np.asarray(self.data["lengths"][rows] - prompts, dtype=np.float64)

    def source_weights(self) -> NDArray[np.float64]:
        """Return each source's part (sources,) of the learned tokens of a held-out set with as many rows of each.

        H is such a set. Its rows are not read for this: what a source's rows weigh is taken from V.
        """
        source, learned = self.data["source"][self.steering], self.learned(self.steering)
        a_row = np.array([learned[source == name].mean() for name in self.plan["sources"]])
        return np.asarray(a_row / a_row.sum())

    def feature_names(self) -> list[str]:
        """Return the names of the features, in their order."""
        nowhere = np.zeros(len(self.pool))
        directions = ["stop", *(f"{name} 0" for name in self.plan["sources"])]
        return list(self.features(dict.fromkeys(directions, nowhere)))

    def features(self, influence: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Return what the weights that are fitted on short runs are made of: every feature of every pool row.

        Which source, its length, prompt, form, repeats and influence (normal scores within the source), and the sides
        of the source's vectors.
        """
        data, pool, source = self.data, self.pool, self.data["source"][self.pool]
        lengths, vectors = data["lengths"][pool].astype(np.float64), data["vectors"][pool].astype(np.float64)
        repeats = np.array([repeated_share(self.examples[i].input_ids) for i in pool])
        on_h = self.influence_on("as H", influence)
        made: dict[str, NDArray[np.float64]] = {}

        def add(name: str, values: NDArray[np.float64], among: NDArray[np.bool_]) -> None:
            made.setdefault(name, np.zeros(len(pool)))[among] = normal_scores(values[among])

        for name in self.plan["sources"]:
            own = source == name
            made[name] = own - own.mean()
            add(f"length in {name}", lengths, own)
            add(f"influence in {name}", on_h, own)
            add(f"stopping in {name}", influence["stop"], own)
            add("prompt", data["prompt_chars"][pool].astype(np.float64), own)
            add("form", data["form"], own)
            add("repeats", repeats, own)
            centred = vectors - vectors[own].mean(axis=0)
            for number, axis in enumerate(np.linalg.svd(centred[own], full_matrices=False)[2][:AXES]):
                add(f"side {number} in {name}", centred @ axis * np.sign(axis[np.argmax(np.abs(axis))]), own)
        return made


def drawn(weights: NDArray[np.float64], pool: Candidates, k: int, rng: np.random.Generator) -> Picks:
    """Draw by weights, as `curate.strategies.weighted` does."""
    order = weighted_order(pool, weights, rng)[:k]
    return Picks(order, ["drawn by its weight"] * len(order))


def repeated_share(ids: list[int], n: int = 4) -> float:
    """Return the share of a row's n-grams of tokens that stood in it before."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
