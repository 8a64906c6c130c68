"""What must be the same on every machine of a run."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

PACKAGES = ("rowpick", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
Software: TypeAlias = dict[str, str]  # what -> which; `machine` names where


def software_here() -> Software:
    """Return the versions that this process computes with, and the machine's name."""
    return {"machine": platform.node(), "python": platform.python_version(), **{p: _version(p) for p in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def difference(machines: Sequence[Software]) -> str | None:
    """Return in one sentence how the first other machine differs from the first; None where all are alike."""
    first = machines[0]
    for other in machines[1:]:
        differing = [
            f"{name} {first[name]} and {other.get(name)}"
            for name in first
            if name != "machine" and other.get(name) != first[name]
        ]
        if differing:
            return f"{first['machine']} and {other['machine']} differ: {', '.join(differing)}."
    return None
