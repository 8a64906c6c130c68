"""Influence for the study "which rows?": what a step on a pool row does to the loss on V, on stopping, on a target.

The gradients are those of a few checkpoints of one reference run, a direction is scaled as AdamW would take the step
(LESS: arXiv 2402.04333; a first-order figure of what leaving a row out would change).
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_model import RATE, adapt, gradient, influences, train
from benchmarks.which_rows_picks import Rows
from curate.tokens.tokenizers import EncodedExample

REFERENCE_DRAW = 5000
CHECKPOINTS = (0.3, 1.0)  # of the reference run's steps
SLICE = 512  # pool rows scored at a time


def pool_influence(
    model: Any, rows: Rows, dtype: torch.dtype, target_draws: int | None = None, max_steps: int | None = None
) -> tuple[list[str], NDArray[np.float64]]:
    """Return the directions' names (V, stop, "SOURCE DRAW" for every target) and every pool row's scores (n x K)."""
    layers = adapt(model)
    wanted = {"V": _examples(rows, rows.steering), "stop": _stopping(rows)}
    for draw, of_draw in enumerate(rows.data["targets"][:target_draws]):
        for source, target in zip(rows.plan["sources"], of_draw, strict=True):
            wanted[f"{source} {draw}"] = _examples(rows, target)
    parameters = [p for layer in layers for p in (layer.a, layer.b)]
    pool = _examples(rows, rows.pool)
    scores = np.zeros((len(pool), len(wanted)))

    def score(step: int, of: int, optimizer: torch.optim.AdamW, rate: float) -> None:
        if step not in {max(1, math.ceil(share * of)) for share in CHECKPOINTS}:
            return
        rate = max(rate, 0.1 * RATE)
        second = [optimizer.state[p]["exp_avg_sq"] / (1 - 0.999**step) for p in parameters]
        directions = [
            [
                (rate * g / (v.sqrt() + 1e-8)).to(dtype)
                for g, v in zip(gradient(model, layers, examples), second, strict=True)
            ]
            for examples in wanted.values()
        ]
        stacked = [torch.stack(parts) for parts in zip(*directions, strict=True)]
        for p in parameters:
            p.requires_grad_(False)
        for start in range(0, len(pool), SLICE):
            scores[start : start + SLICE] += influences(model, layers, stacked, pool[start : start + SLICE])
        for p in parameters:
            p.requires_grad_(True)

    luck = np.random.default_rng(REFERENCE_DRAW).permutation(len(rows.pool))
    enough = np.cumsum(rows.data["lengths"][rows.pool[luck]]) <= rows.plan["budget"]
    reference = _examples(rows, rows.pool[luck][enough])
    train(model, layers, reference, REFERENCE_DRAW, max_steps=max_steps, at_step=score)
    return list(wanted), scores


def _examples(rows: Rows, places: Any) -> list[EncodedExample]:
    return [rows.examples[i] for i in places]


def _stopping(rows: Rows) -> list[EncodedExample]:
    """Return V's rows with short prompts, nothing but their end to learn: the direction in which answers stop."""
    chars = rows.data["prompt_chars"][rows.steering]
    short = rows.steering[chars <= np.median(chars)]
    return [EncodedExample(e.input_ids, len(e.input_ids) - 1) for e in _examples(rows, short)]
