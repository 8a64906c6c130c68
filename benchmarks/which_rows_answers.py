"""Greedy answers of many cells at once: all sequences stand at the same position, so the cache needs no mask."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_kernels import Operations
from benchmarks.which_rows_together import Together

LOOK = 16  # steps between two looks at whether every sequence has ended


@torch.no_grad()
def answers_of(
    model: Together,
    leaves: Sequence[torch.Tensor],
    prompts: Mapping[str, Sequence[int]],
    end: int,
    new_tokens: int,
) -> list[dict[str, list[Any]]]:
    """Return for every cell, by prompt, [new ids without the end token, whether it ended itself].

    `leaves` are the cells' adapters. Prompts are fed a token a step like what follows them, so step t is position t
    everywhere: keys and values of all earlier positions are there, and nothing is padded.
    """
    cells, n = len(leaves[0]), len(prompts)
    ids = [list(prompt) for prompt in prompts.values()]
    lengths = torch.tensor([len(prompt) for prompt in ids], device=model.device)
    longest = max(len(prompt) for prompt in ids) + new_tokens
    tokens = torch.zeros((cells, n, longest + 1), dtype=torch.long, device=model.device)
    for place, prompt in enumerate(ids):
        tokens[:, place, : len(prompt)] = torch.tensor(prompt, device=model.device)
    shape = (len(model.layers), cells * n, model.kv_heads, longest, model.size)
    keys, values = (torch.zeros(shape, dtype=model.dtype, device=model.device) for _ in range(2))
    ended = torch.zeros((cells, n), dtype=torch.bool, device=model.device)
    shortest = int(lengths.min())
    for t in range(longest):

        def attend(number: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, t: int = t) -> torch.Tensor:
            keys[number, :, :, t], values[number, :, :, t] = k, v
            grouped = q.reshape(len(q), model.kv_heads, -1, model.size)
            out = F.scaled_dot_product_attention(grouped, keys[number, :, :, : t + 1], values[number, :, :, : t + 1])
            return out.reshape(q.shape)

        at = torch.full((cells, n), t, device=model.device)
        states = model.hidden(tokens[:, :, t], at, leaves, attend, Operations())
        if t + 1 < shortest:
            continue
        best = (states @ model.head.T).argmax(-1)
        own = (t + 1 >= lengths) & ~ended
        tokens[:, :, t + 1] = torch.where(t + 1 >= lengths, best, tokens[:, :, t + 1])
        ended |= own & (best == end)
        if t % LOOK == 0 and bool((ended | (t + 1 >= lengths + new_tokens)).all()):
            break
    result = []
    for of_cell in tokens.tolist():
        new = [own[len(prompt) : len(prompt) + new_tokens] for prompt, own in zip(ids, of_cell, strict=True)]
        result.append({name: _cut(each, end) for name, each in zip(prompts, new, strict=True)})
    return result


def _cut(new: list[int], end: int) -> list[Any]:
    ended = end in new
    return [new[: new.index(end)] if ended else new, ended]
