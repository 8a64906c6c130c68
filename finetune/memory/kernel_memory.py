"""Peak memory of a step with the kernels, from the shapes alone: the same sums as their allocations.

Three moments can hold the peak: the loss, when hidden states and a chunk of logits join all that is kept; the backward
pass of the last layer; and the update, when gradients are put together. What follows counts each and takes the largest.
"""

from __future__ import annotations

from collections.abc import Callable

from transformers import PretrainedConfig

from finetune.config import RunConfig
from finetune.memory.eligibility import head_width
from finetune.memory.targets import Targets

CHUNK = 2048  # tokens whose logits exist at once
TAIL_STEP = 64  # columns; a power of two, so that rows start at a multiple of 128 bytes
LARGEST_TAIL = 128  # wider, and a block of the thin weight does not fit beside the activations in shared memory
# What the sums leave out: rounding of blocks, cuDNN's and cuBLAS's workspaces. Fitted to the peaks in docs/speed.md.
MARGIN = 1.025
WORKSPACES = 2**30 // 10


def tail_width(ranks: int, dropout: float) -> int:
    """Return by how many columns an activation is widened for adapters of `ranks` in all; 0 where they stand apart."""
    if not 0 < ranks <= LARGEST_TAIL or dropout:
        return 0
    return TAIL_STEP << max(0, (ranks - 1).bit_length() - 6)


def peak_bytes(
    config: RunConfig,
    shape: PretrainedConfig,
    targets: Targets,
    packed: Callable[[int], int],
    checkpointing: bool,
    number_bytes: int,
    keeps_weights: bool = True,
) -> dict[str, float]:
    """Return the bytes of `base`, `kept` (weights) and `moving`, whose sum with the adapter is the peak torch counts.

    Beside them: of the kept weights those to `spare` where memory is short, and the number of weights in `products`.

    `packed(weights)` is what a quantised matrix takes, `number_bytes` a number of the dtype that is computed in.
    Without checkpointing all activations and all dequantised weights are kept, as they are where the card has room;
    with it, neither. Where `keeps_weights` is false, as with weights that are spread over GPUs, only activations are.
    """
    hidden, middle, layers = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers
    width = head_width(shape)
    q, kv = shape.num_attention_heads * width, shape.num_key_value_heads * width
    groups = {
        "self_attn": (("q_proj", q, hidden), ("k_proj", kv, hidden), ("v_proj", kv, hidden)),
        "output": (("o_proj", hidden, q),),
        "mlp": (("gate_proj", middle, hidden), ("up_proj", middle, hidden)),
        "down": (("down_proj", hidden, middle),),
    }
    tokens = config.per_device_train_batch_size * config.max_length
    trained = sum(targets.weights(config.r))
    masks = 0
    tails, matrices = [], []
    frozen = products = 0
    for group in groups.values():
        ranks = [config.r if targets.layers_with(name) else 0 for name, _, _ in group]
        tail = tail_width(sum(ranks), config.lora_dropout)
        masks += tokens * sum(group[0][2] for rank in ranks if rank and config.lora_dropout)
        tails.append(tail)
        matrices.append(number_bytes * (sum(rows for _, rows, _ in group) + tail) * (group[0][2] + tail))
        weights = [rows * columns for _, rows, columns in group]
        products += sum(weights)
        frozen += sum(packed(n) if config.load_in_4bit else number_bytes * n for n in weights)
    head = 1 if getattr(shape, "tie_word_embeddings", False) else 2
    base = head * number_bytes * shape.vocab_size * hidden + number_bytes * hidden * (2 * layers + 1) + layers * frozen
    row = number_bytes * tokens * hidden
    inputs = (
        number_bytes * tokens * (hidden + tails[0] + q + tails[1] + hidden + tails[2])
    )  # what can be made again quickly
    # Variable-length attention of torch 2.11 wants shared keys and values spread over all heads, and keeps them so.
    spread = 0 if config.packing == "joined" else 2 * (q - kv)
    unnormed = q + kv if shape.model_type == "qwen3" else 0  # what norms of heads read
    rest = (
        number_bytes
        * tokens
        * (2 * hidden + q + 2 * kv + unnormed + spread + q + 2 * middle + tails[2] + middle + tails[3])
        + masks
    )
    if checkpointing:
        kept, waiting, layer = max(matrices), layers * (row + masks), rest - row - masks
    else:
        kept, waiting, layer = layers * sum(matrices), layers * (inputs + rest), 0
    if not keeps_weights:
        kept = max(matrices)
    chunk = min(CHUNK, tokens)
    at_loss = waiting + 4 * row + number_bytes * chunk * (shape.vocab_size + 2 * hidden)
    in_backward = waiting + layer + 2 * row + number_bytes * tokens * tails[3]
    at_update = 2 * 4 * trained
    first_layer = at_update / 2 + layer + 3 * row
    return {
        "base": base, "kept": kept,
        "spare": kept - max(matrices),
        "moving": max(at_loss, in_backward, at_update, first_layer) + WORKSPACES,
        "products": layers * products + shape.vocab_size * hidden,
    }  # fmt: skip
