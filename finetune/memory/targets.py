"""Where a run's adapters stand, as PEFT says for an empty model of the same shape, and what they weigh."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn
from transformers import PretrainedConfig

from finetune.config import RunConfig
from finetune.memory.shapes import build_empty_model
from finetune.model import match_targets

_FOUND: dict[tuple[str, str], Targets] = {}


@dataclass(frozen=True)
class Targets:
    """`sizes` maps the name of every module with an adapter to its (input, output) features."""

    sizes: dict[str, tuple[int, int]]

    def weights(self, rank: int) -> list[int]:
        """Return the number of weights of each of LoRA's matrices, two a module."""
        return [rank * features for pair in self.sizes.values() for features in pair]

    def layers_with(self, leaf: str) -> int:
        """Return on how many modules of that last name an adapter stands."""
        return sum(name.rpartition(".")[2] == leaf for name in self.sizes)

    def kinds(self) -> frozenset[str]:
        """Return the names without layers' numbers: the same in a model with fewer layers."""
        return frozenset(map(without_numbers, self.sizes))

    def lowest_layer(self) -> int:
        """Return the number of the first layer with an adapter, where the backward pass ends; 0 below all layers."""
        numbers = [_layer(name) for name in self.sizes]
        return min(numbers, default=0)


def without_numbers(name: str) -> str:
    """Return a module's name with # for the number of its layer."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "#", name)


def _layer(name: str) -> int:
    number = re.search(r"\.(\d+)\.", name)
    return int(number[1]) if number else 0


def find_targets(config: RunConfig, shape: PretrainedConfig) -> Targets:
    """Return where PEFT puts the adapters of `config` in a model of `shape`."""
    key = (shape.to_json_string(), str(config.target_modules))
    if key not in _FOUND:  # building the empty model of a large shape takes a second
        plain = build_empty_model(shape)
        features = {name: module_features(module) for name, module in plain.named_modules()}
        names = match_targets(plain, config.target_modules)
        _FOUND[key] = Targets({name: size for name in names if (size := features.get(name)) is not None})
    return _FOUND[key]


def module_features(module: nn.Module) -> tuple[int, int] | None:
    """Return (input, output) features of a linear layer or an embedding; None for anything else."""
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    weight = getattr(module, "weight", None)
    if not is_linear(module) or weight is None:
        return None
    rows, columns = tuple(weight.shape)
    return (rows, columns) if type(module).__name__ == "Conv1D" else (columns, rows)


def is_linear(module: nn.Module) -> bool:
    """Return whether a module multiplies with one matrix, under any of its libraries' names."""
    return type(module).__name__ in ("Linear", "Conv1D", "Linear4bit")
