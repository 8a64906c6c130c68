"""Greedy answers of many cells at once: all sequences stand at the same position, so no row of the cache is padded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.which_rows_kernels import Operations
from benchmarks.which_rows_together import Together

LOOK = 16  # steps between two looks at whether every sequence has ended
WARM = 3  # steps before one is captured


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
    everywhere. A step is the same computation for every t: on a card it is captured once and replayed.
    """
    cells, n = len(leaves[0]), len(prompts)
    ids = [list(prompt) for prompt in prompts.values()]
    device = model.device
    lengths = torch.tensor([len(prompt) for prompt in ids], device=device)
    longest = max(len(prompt) for prompt in ids) + new_tokens
    tokens = torch.zeros((cells, n, longest + 1), dtype=torch.long, device=device)
    for place, prompt in enumerate(ids):
        tokens[:, place, : len(prompt)] = torch.tensor(prompt, device=device)
    capacity = -(-longest // 16) * 16
    shape = (len(model.layers), cells * n, model.kv_heads, capacity, model.size)
    keys, values = (torch.zeros(shape, dtype=model.dtype, device=device) for _ in range(2))
    ended = torch.zeros((cells, n), dtype=torch.bool, device=device)
    at, columns = torch.zeros(1, dtype=torch.long, device=device), torch.arange(capacity, device=device)

    def attend(number: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        keys[number].index_copy_(2, at, k[:, :, None])
        values[number].index_copy_(2, at, v[:, :, None])
        grouped = q.reshape(len(q), model.kv_heads, -1, model.size)
        seen = (columns <= at)[None, None, None].expand(1, 1, grouped.shape[2], capacity)
        return F.scaled_dot_product_attention(grouped, keys[number], values[number], attn_mask=seen).reshape(q.shape)

    def step() -> None:
        now = tokens.index_select(2, at)[:, :, 0]
        states = model.hidden(now, at.expand(cells * n).view(cells, n), leaves, attend, Operations())
        best = (states @ model.head.T).argmax(-1)
        following = at + 1
        is_new = following >= lengths
        known = tokens.index_select(2, following)[:, :, 0]
        tokens.index_copy_(2, following, torch.where(is_new, best, known)[:, :, None])
        ended.logical_or_(is_new & (best == end))
        at.add_(1)

    go = step
    for t in range(longest):
        if t == WARM and device.type == "cuda":
            go = _captured(step)
        go()
        if t % LOOK == 0 and bool((ended | (at >= lengths + new_tokens)).all()):
            break
    result = []
    for of_cell in tokens.tolist():
        new = [own[len(prompt) : len(prompt) + new_tokens] for prompt, own in zip(ids, of_cell, strict=True)]
        result.append({name: _cut(each, end) for name, each in zip(prompts, new, strict=True)})
    return result


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    """Return the step as a CUDA graph, or as it is where it cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        torch.cuda.synchronize()
        print(f'{{"no_graph": "{str(error)[:200]!r}"}}', flush=True)
        return step
    return graph.replay


def _cut(new: list[int], end: int) -> list[Any]:
    ended = end in new
    return [new[: new.index(end)] if ended else new, ended]
