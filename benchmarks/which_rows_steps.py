"""The steps of the study "which rows?": rows in bins that do not see each other, eight bins a step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_model import BIN, BINS_A_STEP, EPOCHS
from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import pack_examples

STEP_TOKENS = BIN * BINS_A_STEP
LONGEST = 512  # tokens of a row, and of a stretch of padding


@dataclass(frozen=True)
class Step:
    """One cell's step: token ids and positions (STEP_TOKENS,), lengths of the stretches that see only themselves, the
    places whose next token is learned, that token, and the row it belongs to."""

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    stretches: list[int]
    places: NDArray[np.int32]
    targets: NDArray[np.int32]
    rows: NDArray[np.int32]


def step_of(bins: Sequence[Sequence[int]], examples: Sequence[EncodedExample], on_prompt: bool = False) -> Step:
    """Return bins of examples, by their indices, as one step."""
    ids, positions = np.zeros(STEP_TOKENS, np.int32), np.zeros(STEP_TOKENS, np.int32)
    stretches: list[int] = []
    places, targets, rows = [], [], []
    for number in range(BINS_A_STEP):
        start = number * BIN
        for i in bins[number] if number < len(bins) else ():
            row = np.asarray(examples[i].input_ids, np.int32)
            n, first = len(row), 1 if on_prompt else max(1, examples[i].prompt_length)
            ids[start : start + n], positions[start : start + n] = row, np.arange(n)
            stretches.append(n)
            places.append(np.arange(start + first - 1, start + n - 1))
            targets.append(row[first:])
            rows.append(np.full(n - first, i))
            start += n
        while left := (number + 1) * BIN - start:
            n = min(left, LONGEST)
            positions[start : start + n] = np.arange(n)
            stretches.append(n)
            start += n
    joined = [np.concatenate([*parts, np.zeros(0)]).astype(np.int32) for parts in (places, targets, rows)]
    return Step(ids, positions, stretches, *joined)


def training_steps(examples: Sequence[EncodedExample], seed: int, on_prompt: bool = False) -> list[Step]:
    """Return every step of a training, in the order of `which_rows_model.steps_of`."""
    steps = []
    for epoch in range(EPOCHS):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(examples)).tolist()
        packed = pack_examples([len(examples[i].input_ids) for i in order], BIN)
        bins = [[order[place] for place in packed[i]] for i in rng.permutation(len(packed)).tolist()]
        steps += [step_of(bins[i : i + BINS_A_STEP], examples, on_prompt) for i in range(0, len(bins), BINS_A_STEP)]
    return steps


def measuring_steps(examples: Sequence[EncodedExample]) -> list[Step]:
    """Return the examples as steps, each in one of them."""
    bins = pack_examples([len(example.input_ids) for example in examples], BIN)
    return [step_of(bins[i : i + BINS_A_STEP], examples) for i in range(0, len(bins), BINS_A_STEP)]
