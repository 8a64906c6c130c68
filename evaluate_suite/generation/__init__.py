"""Generation: raw prompts, engines, and what they write.

The names are read when they are asked for: the engines load torch, and help needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import load_when_used

if TYPE_CHECKING:
    from evaluate_suite.generation.engines import build_tasks, finish, generate, generate_to_file
    from evaluate_suite.generation.raw_prompts import load_raw_prompts
    from evaluate_suite.generation.record import DecodingSettings, Generation, GenerationTask

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

_ENGINES, _RECORD = "evaluate_suite.generation.engines", "evaluate_suite.generation.record"

__getattr__ = load_when_used(
    __name__,
    {
        "DecodingSettings": _RECORD,
        "Generation": _RECORD,
        "GenerationTask": _RECORD,
        "build_tasks": _ENGINES,
        "finish": _ENGINES,
        "generate": _ENGINES,
        "generate_to_file": _ENGINES,
        "load_raw_prompts": "evaluate_suite.generation.raw_prompts",
    },
)
