"""The key/value cache behind continuous batching: one row a running prompt, a token's column is its position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

CPU_CACHE_BYTES = 4 * 2**30
CUDA_CACHE_SHARE = 0.8  # of the memory free after the weights are loaded


@dataclass
class SlotCache:
    """Keys and values of all layers, (rows, heads, capacity, head size); row r holds its tokens in columns 0, 1, 2 ...

    No row is padded on the left: a token's column is its position, so position ids and mask follow from the row's
    length alone, a finished row's place can be given to another prompt, and nothing ever moves. Speaks as much of
    the cache interface of transformers as attention layers call.
    """

    rows: int
    capacity: int
    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)
    # What the next forward pass is: rows being prefilled, or (None) one step of all rows.
    prefill_rows: torch.Tensor | None = None
    positions: Any = None  # (rows,) column of the step's token
    attended: int = 0  # columns a step attends to
    kernels: Any = None  # the module `slot_kernels` where it is used
    is_compileable = False

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values; all it may attend to comes back."""
        while layer >= len(self.keys):
            shape = (self.rows, keys.shape[1], self.capacity)
            self.keys.append(torch.zeros((*shape, keys.shape[3]), dtype=keys.dtype, device=keys.device))
            self.values.append(torch.zeros((*shape, values.shape[3]), dtype=values.dtype, device=values.device))
        if self.prefill_rows is not None:
            self.keys[layer][self.prefill_rows, :, : keys.shape[2]] = keys
            self.values[layer][self.prefill_rows, :, : keys.shape[2]] = values
            return keys, values
        if self.kernels is not None:
            self.kernels.store_step(keys, values, self.keys[layer], self.values[layer], self.positions)
            return self.keys[layer], self.values[layer]
        every = torch.arange(self.rows, device=keys.device)
        self.keys[layer][every, :, self.positions] = keys[:, :, 0]
        self.values[layer][every, :, self.positions] = values[:, :, 0]
        return self.keys[layer][:, :, : self.attended], self.values[layer][:, :, : self.attended]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Asked for by models that would count positions themselves; ours are always given."""
        return 0 if self.prefill_rows is not None else self.attended - 1

    def keep(self, rows: Sequence[int], capacity: int, total: int) -> None:
        """Keep `rows`, in this order, in a cache of `total` rows and `capacity` columns."""
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                width = min(capacity, self.capacity)
                new = torch.zeros((total, old.shape[1], capacity, old.shape[3]), dtype=old.dtype, device=old.device)
                if rows:
                    chosen = torch.as_tensor(list(rows), device=old.device)
                    new[: len(rows), :, :width] = old[:, :, :width].index_select(0, chosen)
                store[layer] = new
        self.rows, self.capacity = total, capacity


def cache_cells(model: Any) -> int:
    """How many token positions fit into the memory given to the cache."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_per_token = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
    room = CPU_CACHE_BYTES
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        reusable = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        room = int((free + reusable) * CUDA_CACHE_SHARE)
    return max(1, int(room // bytes_per_token))
