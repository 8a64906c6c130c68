"""Peak memory of a step with the kernels, from the shapes alone: the same sums as their allocations.

Three moments can hold the peak: the loss, when hidden states and a chunk of logits join all that is kept; the backward
pass of the last layer; and the update, when gradients are put together. What follows counts each and takes the largest.
"""

from __future__ import annotations

import re
from typing import Any

from finetune.config import RunConfig
from finetune.kernels.loss import CHUNK
from finetune.kernels.projection import LARGEST_TAIL, TAIL_STEP

MODEL_TYPES = ("llama", "mistral", "qwen2")
HALF = 2  # bytes of a bfloat16
# What the sums leave out: rounding of blocks, cuDNN's and cuBLAS's workspaces. Fitted to the peaks in docs/speed.md.
MARGIN = 1.025
WORKSPACES = 2**30 // 10


def would_be_used(config: RunConfig, shape: Any) -> bool:
    """Whether a run of `config` on a GPU takes the kernels, as far as shapes can say."""
    return (
        config.kernels is not False
        and config.device != "cpu"
        and config.dtype in ("auto", "bfloat16")
        and config.attn_implementation in ("sdpa", "varlen")
        and shape.model_type in MODEL_TYPES
    )


def peak_bytes(config: RunConfig, shape: Any, packed: Any, checkpointing: bool) -> dict[str, float]:
    """Bytes of `base`, `adapter`, `kept` (weights) and `moving`, whose sum is the peak that torch counts.

    Beside them: bytes of the `optimizer`, which is paged; of the kept weights those to `spare` where memory is short;
    the numbers of `trainable` weights and of weights in `products`.

    `packed(weights)` is what a quantised matrix takes. Without checkpointing all activations and all dequantised
    weights are kept, as they are where the card has room; with it, neither.
    """
    hidden, middle, layers = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers
    width = getattr(shape, "head_dim", None) or hidden // shape.num_attention_heads
    q, kv = shape.num_attention_heads * width, shape.num_key_value_heads * width
    groups = {
        "self_attn": (("q_proj", q, hidden), ("k_proj", kv, hidden), ("v_proj", kv, hidden)),
        "output": (("o_proj", hidden, q),),
        "mlp": (("gate_proj", middle, hidden), ("up_proj", middle, hidden)),
        "down": (("down_proj", hidden, middle),),
    }
    tokens = config.per_device_train_batch_size * config.max_length
    trained = masks = 0
    tails, matrices = [], []
    frozen = products = 0
    for group in groups.values():
        ranks = [config.r if _adapted(config, name) else 0 for name, _, _ in group]
        trained += sum(rank * (rows + columns) for rank, (_, rows, columns) in zip(ranks, group, strict=True))
        folded = 0 < sum(ranks) <= LARGEST_TAIL and not config.lora_dropout
        tail = TAIL_STEP * 2 ** max(0, (sum(ranks) - 1).bit_length() - 6) if folded else 0
        masks += tokens * sum(group[0][2] for rank in ranks if rank and config.lora_dropout)
        tails.append(tail)
        matrices.append(HALF * (sum(rows for _, rows, _ in group) + tail) * (group[0][2] + tail))
        weights = [rows * columns for _, rows, columns in group]
        products += sum(weights)
        frozen += sum(packed(n) if config.load_in_4bit else HALF * n for n in weights)
    head = 1 if getattr(shape, "tie_word_embeddings", False) else 2
    base = head * HALF * shape.vocab_size * hidden + HALF * hidden * (2 * layers + 1) + layers * frozen
    trained *= layers
    row = HALF * tokens * hidden
    inputs = HALF * tokens * (hidden + tails[0] + q + tails[1] + hidden + tails[2])  # what can be made again quickly
    # Variable-length attention of torch 2.11 wants shared keys and values spread over all heads, and keeps them so.
    spread = 0 if config.packing == "joined" else 2 * (q - kv)
    rest = HALF * tokens * (2 * hidden + q + 2 * kv + spread + q + 2 * middle + tails[2] + middle + tails[3]) + masks
    if checkpointing:
        kept, waiting, layer = max(matrices), layers * (row + masks), rest - row - masks
    else:
        kept, waiting, layer = layers * sum(matrices), layers * (inputs + rest), 0
    chunk = min(CHUNK, tokens)
    at_loss = waiting + 4 * row + HALF * chunk * (shape.vocab_size + 2 * hidden)
    in_backward = waiting + layer + 2 * row + HALF * tokens * tails[3]
    at_update = 2 * 4 * trained
    first_layer = at_update / 2 + layer + 3 * row
    return {
        "base": base, "adapter": 4 * trained, "kept": kept, "trainable": trained,
        "spare": 0 if checkpointing else kept - max(matrices),
        "moving": max(at_loss, in_backward, at_update, first_layer) + WORKSPACES,
        "optimizer": 2 * trained * (1 + 4 / 256), "products": layers * products + shape.vocab_size * hidden,
    }  # fmt: skip


def _adapted(config: RunConfig, name: str) -> bool:
    """Whether PEFT would put an adapter on the projection of that name."""
    targets = config.target_modules
    if isinstance(targets, str):
        part = "mlp" if name in ("gate_proj", "up_proj", "down_proj") else "self_attn"
        return targets == "all-linear" or re.fullmatch(targets, f"model.layers.0.{part}.{name}") is not None
    return name in {target.rpartition(".")[2] for target in targets}
