"""Put the kernels into a model that transformers and peft built, in place; everything else about it stays as it is."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from curate.errors import UserError
from finetune import attention
from finetune.batches.packing import IGNORED
from finetune.config import RunConfig
from finetune.kernels.decoder import Layer, Surroundings, run_layer
from finetune.kernels.loss import final_norm, token_losses
from finetune.kernels.projection import Projection, Scratch
from finetune.memory.eligibility import head_width, kernel_obstacle, place_here
from finetune.memory.kernel_memory import CHUNK
from finetune.memory.spread_memory import GATHERED_LAYERS
from finetune.model import AdaptedModel
from finetune.parallel.sharding import decoder_layers, frozen_matrices


@dataclass(frozen=True)
class MemoryPlan:
    """How many layers keep their activations, and how many projections their dequantised weights."""

    kept_layers: int
    kept_weights: int


def accelerate_model(model: AdaptedModel, config: RunConfig, dtype: torch.dtype, shards: int = 1) -> str | None:
    """Make the adapted `model` compute with the kernels where it trains; why not comes back where it cannot.

    Only passes with the adapter on and neither cache nor mask take the new way, so generating, merging and switching
    the adapter off work as before. `kernels: true` where they cannot work is a `UserError`. Weights that will be
    spread over several `shards` are there while their layer computes, so none is kept dequantised.
    """
    base = model.get_base_model()
    reason = _obstacle(model, base, config, dtype)
    if reason is not None:
        if config.kernels is True:
            raise UserError(f"The kernels do not work here: {reason}.", "Set kernels=auto.")
        return reason
    decoder = base.model
    scratch = Scratch()
    layers = [_read_layer(layer, base.config, dtype, scratch) for layer in decoder.layers]
    plan = plan_memory(layers, config, _free_bytes(model) + _bytes_freed(model, shards), base.config.vocab_size)
    for i, layer in enumerate(layers):
        layer.keeps = i < plan.kept_layers
    kept = plan.kept_weights if shards == 1 else 0
    for projection in [p for layer in layers for p in layer.projections][:kept]:
        projection.keep()
    finder = attention.SegmentFinder()
    for module, layer in zip(decoder.layers, layers, strict=True):
        _patch_layer(module, layer, finder)
    _patch_norm(decoder.norm)
    _patch_causal_model(base)
    _patch_walks(model)
    base.config._attn_implementation = attention.register()
    return None


def _obstacle(model: AdaptedModel, base: PreTrainedModel, config: RunConfig, dtype: torch.dtype) -> str | None:
    """Return why the kernels cannot compute this model; None when they can. The forecast asks the same function."""
    device = next(model.parameters()).device
    adapted = [name for name, module in base.named_modules() if hasattr(module, "lora_A")]
    place = place_here(device.type, str(dtype).removeprefix("torch."))
    reason = kernel_obstacle(config, base.config, place, adapted)
    if reason is None and base.lm_head.weight.dtype != dtype:
        return f"they compute in {dtype}, and the model's own weights are {base.lm_head.weight.dtype}"
    return reason


def _read_layer(
    module: GradientCheckpointingLayer, shape: PretrainedConfig, dtype: torch.dtype, scratch: Scratch
) -> Layer:
    attend, mlp = module.self_attn, module.mlp

    def together(*modules: torch.nn.Module) -> Projection:
        return Projection(modules, dtype, scratch)

    return Layer(
        together(attend.q_proj, attend.k_proj, attend.v_proj), together(attend.o_proj),
        together(mlp.gate_proj, mlp.up_proj), together(mlp.down_proj),
        module.input_layernorm.weight, module.post_attention_layernorm.weight, shape.rms_norm_eps,
        shape.num_attention_heads, shape.num_key_value_heads, head_width(shape), attend.scaling,
        window=_window(attend, shape), turns=bool(getattr(attend, "use_rope", True)),
        head_norms=(attend.q_norm.weight, attend.k_norm.weight) if hasattr(attend, "q_norm") else None,
    )  # fmt: skip


def _window(attend: torch.nn.Module, shape: PretrainedConfig) -> int | None:
    """How far a layer sees: families with windows in some layers alone say so in each, Mistral in its config."""
    if hasattr(attend, "sliding_window"):
        return cast("int | None", attend.sliding_window)
    return getattr(shape, "sliding_window", None) if shape.model_type == "mistral" else None


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


def _free_bytes(model: AdaptedModel) -> int:
    """Memory that tensors can still take on the model's device."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return 2**62
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _bytes_freed(model: AdaptedModel, shards: int) -> int:
    """Return by how much spreading the frozen weights will lessen what a GPU holds of them, gathered layers and all."""
    if shards == 1:
        return 0
    matrices = [frozen_matrices(layer) for layer in decoder_layers(model)]
    sizes = [sum(matrix.nbytes for matrix in own) for own in matrices]
    here = sum(matrix.nbytes for own in matrices for matrix in own if matrix.is_cuda)
    return here - sum(sizes) // shards - GATHERED_LAYERS * max(sizes)


def _patch_layer(module: GradientCheckpointingLayer, layer: Layer, finder: attention.SegmentFinder) -> None:
    adapted = [m for m in module.modules() if hasattr(m, "lora_A")]
    names = [m.active_adapters for m in adapted]
    original: Callable[..., Any] = module.forward

    def forward(self: GradientCheckpointingLayer, hidden_states: torch.Tensor, **kwargs: Any) -> Any:
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


def _patch_norm(module: LlamaRMSNorm) -> None:
    def forward(self: LlamaRMSNorm, hidden_states: torch.Tensor) -> torch.Tensor:
        return final_norm(hidden_states, self.weight, self.variance_epsilon)

    module.forward = types.MethodType(forward, module)


def _patch_causal_model(base: PreTrainedModel) -> None:
    """Let `model(..., nll_labels=labels)` return the loss of every labelled token, with no matrix of logits."""
    original: Callable[..., Any] = base.forward

    def forward(self: PreTrainedModel, *args: Any, nll_labels: torch.Tensor | None = None, **kwargs: Any) -> Any:
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


def _patch_walks(model: AdaptedModel) -> None:
    """Spare the trainer two walks a step over thousands of modules, while the GPU waits."""
    trained = [p for p in model.parameters() if p.requires_grad]
    switch: Callable[..., Any] = model.train
    switch(model.training)  # peft's wrapper says "training" around a base in eval mode; below, one speaks for all

    def train(self: AdaptedModel, mode: bool = True) -> AdaptedModel:
        return self if self.training == mode else switch(mode)

    def zero_grad(self: AdaptedModel, set_to_none: bool = True) -> None:
        for parameter in trained:
            parameter.grad = None

    model.train, model.zero_grad = types.MethodType(train, model), types.MethodType(zero_grad, model)
