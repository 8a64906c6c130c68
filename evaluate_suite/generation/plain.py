"""transformers' own `generate` in batches sorted by length: the peer, and the way for models without a plain cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from evaluate_suite.generation.record import DecodingSettings, GenerationTask

CPU_BATCH = 16
CUDA_BATCH = 64


@contextmanager
def _own_config_aside(model: Any) -> Iterator[None]:
    """Replace the model's `generation_config` for a while: `generate` fills unset values from it."""
    holder = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = holder.generation_config
    holder.generation_config = GenerationConfig()
    try:
        yield
    finally:
        holder.generation_config = before


def decode_plainly(
    model: Any,
    stop: Sequence[int],
    pad: int | None,
    tasks: Sequence[GenerationTask],
    settings: DecodingSettings,
) -> Iterator[tuple[int, list[int], bool]]:
    """Yield (task index, new ids without the end token, whether it ended itself), batch by batch.

    A sampled task runs alone, because a batch shares one random stream and its text would depend on its neighbours.
    """
    size = settings.batch_size or (CUDA_BATCH if model.device.type == "cuda" else CPU_BATCH)
    size = 1 if settings.do_sample else size
    sampling = {"temperature": settings.temperature, "top_p": settings.top_p} if settings.do_sample else {}
    config = GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        min_new_tokens=settings.min_new_tokens or None,
        do_sample=settings.do_sample,
        eos_token_id=list(stop),
        pad_token_id=stop[0] if pad is None else pad,
        **sampling,
    )
    order = sorted(range(len(tasks)), key=lambda i: (len(tasks[i].prompt_ids), i))
    devices = [model.device] if model.device.type == "cuda" else []
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        width = max(len(tasks[i].prompt_ids) for i in batch)
        ids = [[config.pad_token_id] * (width - len(tasks[i].prompt_ids)) + list(tasks[i].prompt_ids) for i in batch]
        mask = [[0] * (width - len(tasks[i].prompt_ids)) + [1] * len(tasks[i].prompt_ids) for i in batch]
        with _own_config_aside(model), torch.no_grad(), torch.random.fork_rng(devices, enabled=settings.do_sample):
            if settings.do_sample:
                torch.manual_seed(tasks[batch[0]].seed or 0)
            out = model.generate(
                input_ids=torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=config,
            )
        for index, row in zip(batch, out[:, width:].tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in stop), None)
            yield index, row[:end], end is not None
