"""Generation: raw prompts, engines, and what they write.

The names are read when they are asked for: the engines load torch, and help needs none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluate_suite.generation.engines import build_tasks, finish, generate, generate_to_file
    from evaluate_suite.generation.raw_prompts import load_raw_prompts
    from evaluate_suite.generation.record import DecodingSettings, Generation, GenerationTask

_HOMES = {
    "build_tasks": "engines",
    "finish": "engines",
    "generate": "engines",
    "generate_to_file": "engines",
    "load_raw_prompts": "raw_prompts",
    "DecodingSettings": "record",
    "Generation": "record",
    "GenerationTask": "record",
}

__all__ = [
    "DecodingSettings",
    "Generation",
    "GenerationTask",
    "build_tasks",
    "finish",
    "generate",
    "generate_to_file",
    "load_raw_prompts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
