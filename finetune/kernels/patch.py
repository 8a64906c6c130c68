"""Put the kernels into a model that transformers and peft built, in place; everything else about it stays as it is."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from curate.errors import UserError
from finetune.batches.packing import IGNORED
from finetune.config import RunConfig
from finetune.kernels import attention, ops
from finetune.kernels.decoder import Layer, Surroundings, run_layer
from finetune.kernels.loss import CHUNK, final_norm, token_losses
from finetune.kernels.projection import Projection, Scratch

FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
OLDEST_CARD = (8, 0)  # Ampere: the first with bfloat16
NARROWEST_HEAD = 32  # half a head is the shortest side of a product, which on the card is 16 at least


@dataclass(frozen=True)
class MemoryPlan:
    """How many layers keep their activations, and how many projections their dequantised weights."""

    kept_layers: int
    kept_weights: int


def accelerate_model(model: Any, config: RunConfig, dtype: torch.dtype) -> str | None:
    """Make the adapted `model` compute with the kernels where it trains; why not comes back where it cannot.

    Only passes with the adapter on and neither cache nor mask take the new way, so generating, merging and switching
    the adapter off work as before. `kernels: true` where they cannot work is a `UserError`.
    """
    base = model.get_base_model()
    reason = "kernels: false" if config.kernels is False else _obstacle(model, base, config, dtype)
    if reason is not None:
        if config.kernels is True:
            raise UserError(f"The kernels do not work here: {reason}.", "Set kernels=auto.")
        return reason
    decoder = base.model
    scratch = Scratch()
    layers = [_read_layer(layer, base.config, dtype, scratch) for layer in decoder.layers]
    plan = plan_memory(layers, config, _free_bytes(model), base.config.vocab_size)
    for i, layer in enumerate(layers):
        layer.keeps = i < plan.kept_layers
    for projection in [p for layer in layers for p in layer.projections][: plan.kept_weights]:
        projection.keep()
    finder = attention.SegmentFinder()
    for module, layer in zip(decoder.layers, layers, strict=True):
        _patch_layer(module, layer, finder)
    _patch_norm(decoder.norm)
    _patch_causal_model(base)
    _patch_walks(model)
    base.config._attn_implementation = attention.register()
    return None


def _obstacle(model: Any, base: Any, config: RunConfig, dtype: torch.dtype) -> str | None:
    """Why the kernels cannot compute this model, in a few words; None when they can."""
    shape, device = base.config, next(model.parameters()).device
    window = getattr(shape, "sliding_window", None)
    if device.type == "cuda" and (torch.cuda.get_device_capability(device) < OLDEST_CARD or not ops.can_fuse()):
        return "they need Triton and a card of compute capability 8.0 or newer"
    if device.type != "cuda" and config.kernels == "auto":
        return "there is no GPU"
    if device.type == "cuda" and dtype != torch.bfloat16:
        return f"they compute in bfloat16, not in {dtype}"
    if type(base).__name__ not in FAMILIES or shape.hidden_act != "silu":
        return f"{type(base).__name__} is not one of {', '.join(FAMILIES)}"
    if base.lm_head.weight.dtype != dtype:
        return f"they compute in {dtype}, and the model's own weights are {base.lm_head.weight.dtype}"
    if window is not None and window < config.max_length and getattr(shape, "use_sliding_window", True):
        return f"the model's sliding window of {window} is shorter than max_length {config.max_length}"
    if shape.attention_dropout or config.attn_implementation not in ("sdpa", attention.NAME):
        return "they bring their own attention, without dropout"
    if device.type == "cuda" and ((width := _head_width(shape)) & (width - 1) or width < NARROWEST_HEAD):
        return f"heads of {width} features are no power of two from {NARROWEST_HEAD} up"
    adapted = {name.rsplit(".", 1)[-1] for name, module in base.named_modules() if hasattr(module, "lora_A")}
    known = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    return f"adapters stand on {', '.join(sorted(adapted - known))}" if adapted - known else None


def _head_width(shape: Any) -> int:
    return int(getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads)


def _read_layer(module: Any, shape: Any, dtype: torch.dtype, scratch: Scratch) -> Layer:
    attend, mlp = module.self_attn, module.mlp

    def together(*modules: Any) -> Projection:
        return Projection(modules, dtype, scratch)

    return Layer(
        together(attend.q_proj, attend.k_proj, attend.v_proj), together(attend.o_proj),
        together(mlp.gate_proj, mlp.up_proj), together(mlp.down_proj),
        module.input_layernorm.weight, module.post_attention_layernorm.weight, shape.rms_norm_eps,
        shape.num_attention_heads, shape.num_key_value_heads, _head_width(shape), attend.scaling,
    )  # fmt: skip


def plan_memory(layers: Sequence[Layer], config: RunConfig, free: int, vocabulary: int) -> MemoryPlan:
    """What fits into `free` bytes: first activations, since making them again costs a third of a step, then weights,
    which cost a twentieth.

    `gradient_checkpointing: true` asks for the least memory: nothing is kept. `false` keeps every layer's activations.
    """
    if config.gradient_checkpointing is True:
        return MemoryPlan(0, 0)
    tokens = config.per_device_train_batch_size * config.max_length
    activations = layers[0].kept_bytes(tokens)
    hidden = 2 * tokens * layers[0].first_norm.numel()
    projections = [p for layer in layers for p in layer.projections]
    trained = sum(p.numel() for layer in layers for p in layer.parameters)
    # Beside what is kept: one layer's gradients, the logits of a chunk, hidden states around the loss, gradients and
    # optimizer states of the adapter, and the scratch matrix; then a tenth for what the allocator cannot use.
    busy = activations + 2 * CHUNK * vocabulary + 4 * hidden + 12 * trained + max(p.bytes for p in projections)
    room = int(0.9 * free) - busy
    kept_layers = len(layers)
    if config.gradient_checkpointing == "auto":
        kept_layers = max(0, min(len(layers), (room - len(layers) * hidden) // (activations - hidden)))
    room -= kept_layers * activations + (len(layers) - kept_layers) * hidden
    kept_weights = 0
    for projection in projections:
        room -= projection.bytes
        if room < 0:
            break
        kept_weights += 1
    return MemoryPlan(kept_layers, kept_weights)


def _free_bytes(model: Any) -> int:
    """Memory that tensors can still take on the model's device."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return 2**62
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _patch_layer(module: Any, layer: Layer, finder: attention.SegmentFinder) -> None:
    adapted = [m for m in module.modules() if hasattr(m, "lora_A")]
    names = [m.active_adapters for m in adapted]
    original: Callable[..., Any] = module.forward

    def forward(self: Any, hidden_states: Any, **kwargs: Any) -> Any:
        other = kwargs.get("past_key_values") is not None or kwargs.get("attention_mask") is not None
        if other or any(
            m.disable_adapters or m.merged or m.active_adapters != n for m, n in zip(adapted, names, strict=True)
        ):
            return original(hidden_states, **kwargs)
        batch, length, _ = hidden_states.shape
        cos, sin = (x.expand(batch, -1, -1) for x in kwargs["position_embeddings"])
        segments = finder.find(kwargs.get("position_ids"), batch, length)
        around = Surroundings(cos, sin, segments, batch, length, self.training, torch.is_grad_enabled())
        return run_layer(layer, hidden_states, around)

    module.forward = types.MethodType(forward, module)


def _patch_norm(module: Any) -> None:
    def forward(self: Any, hidden_states: Any) -> Any:
        return final_norm(hidden_states, self.weight, self.variance_epsilon)

    module.forward = types.MethodType(forward, module)


def _patch_causal_model(base: Any) -> None:
    """Let `model(..., nll_labels=labels)` return the loss of every labelled token, with no matrix of logits."""
    original: Callable[..., Any] = base.forward

    def forward(self: Any, *args: Any, nll_labels: Any = None, **kwargs: Any) -> Any:
        if nll_labels is None:
            return original(*args, **kwargs)
        targets = nll_labels.roll(-1, 1)
        targets[:, -1] = IGNORED
        targets = targets.flatten()
        rows = (targets != IGNORED).nonzero()[:, 0]  # here, where the GPU has nothing to be waited for
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        hidden = self.model(*args, **kwargs).last_hidden_state
        return token_losses(hidden.flatten(0, 1), self.lm_head.weight, rows, targets[rows])

    base.forward = types.MethodType(forward, base)
    base.accepts_nll_labels = True


def _patch_walks(model: Any) -> None:
    """Spare the trainer two walks a step over thousands of modules, while the GPU waits."""
    trained = [p for p in model.parameters() if p.requires_grad]
    switch: Callable[..., Any] = model.train
    switch(model.training)  # peft's wrapper says "training" around a base in eval mode; below, one speaks for all

    def train(self: Any, mode: bool = True) -> Any:
        return self if self.training == mode else switch(mode)

    def zero_grad(self: Any, set_to_none: bool = True) -> None:
        for parameter in trained:
            parameter.grad = None

    model.train, model.zero_grad = types.MethodType(train, model), types.MethodType(zero_grad, model)
