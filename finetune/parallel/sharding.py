"""Frozen weights spread over all GPUs with torch's FSDP2, one group a decoder layer; adapters stay whole.

The adapters are a hundredth of a model: every process holds all of them, in float32, and DDP adds up their gradients.
So optimizer, checkpoints and resuming are those of one GPU, whatever the number. 4-bit weights are gathered as they
are packed, under the bytes that bitsandbytes would give them with `bnb_4bit_quant_storage` set to a floating type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from curate.errors import UserError
from finetune.parallel.processes import Processes

# FSDP2 takes floating types alone. With bfloat16 two GPUs had another base loss than one, probably because it copies
# narrow types through float32, which makes all NaNs one: a 256th of the packed bytes would change.
QUANT_STORAGE = torch.float32


def leave_to_sharding(model: Any) -> None:
    """Have DDP pass over the weights that will be spread: it would hold on to the whole ones."""
    spread = {id(parameter) for layer in decoder_layers(model) for parameter in frozen_matrices(layer)}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in spread]
    model._ddp_params_and_buffers_to_ignore = names


def place_whole_parts(model: Any, device: str) -> None:
    """Move all but the weights that will be spread from the machine's memory, where the model was loaded, to a GPU."""
    spread = {id(parameter) for layer in decoder_layers(model) for parameter in frozen_matrices(layer)}
    for module in model.modules():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if id(tensor) not in spread:
                tensor.data = tensor.data.to(device)
    model.get_base_model().hf_device_map = {"": device}  # what the trainer looks at


def shard_frozen_weights(model: Any, processes: Processes, device: str) -> None:
    """Spread the frozen matrices of every decoder layer over all processes; what is left stays whole, on `device`.

    Embeddings and output layer stay whole, too: they are one product each, and the kernels read the latter directly.
    """
    layers = decoder_layers(model)
    if not layers:
        raise UserError(
            f"{type(model.get_base_model()).__name__} does not say which modules are its layers.", "Use --parallel ddp."
        )
    mesh = init_device_mesh(torch.device(device).type, (processes.size,))
    for layer in layers:
        for module in layer.modules():
            own = dict(module.named_parameters(recurse=False)).get("weight")  # PEFT's layers show another's as theirs
            if getattr(own, "quant_state", None) is not None:
                _store_packed_as_numbers(module, torch.device(device))
        kept = set(layer.parameters()) - set(frozen_matrices(layer))
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=kept)
    decoder = model.get_base_model().base_model  # groups of one root are gathered one ahead of the layer at work
    whole = {parameter for parameter in decoder.parameters() if not isinstance(parameter, DTensor)}
    fully_shard(decoder, mesh=mesh, ignored_params=whole)
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def decoder_layers(model: Any) -> list[nn.Module]:
    """Return the modules that the model's family names as its layers."""
    base = model.get_base_model()
    names = set(base._no_split_modules or ())
    return [module for module in base.modules() if type(module).__name__ in names]


def frozen_matrices(layer: nn.Module) -> list[nn.Parameter]:
    """Return the weights of a layer that are worth spreading: frozen, and no vectors."""
    return [parameter for parameter in layer.parameters() if not parameter.requires_grad and parameter.dim() > 1]


def _store_packed_as_numbers(module: Any, device: torch.device) -> None:
    """Look at a 4-bit weight's bytes as numbers that FSDP2 takes; what unpacks them stays with the module, whole."""
    weight, state = module.weight, module.weight.quant_state
    state.to(device)
    module.quant_state, module.quant_storage = state, QUANT_STORAGE
    numbers = weight.data.contiguous().view(torch.uint8).flatten().view(QUANT_STORAGE)[:, None]
    module.weight = nn.Parameter(numbers, requires_grad=False)
