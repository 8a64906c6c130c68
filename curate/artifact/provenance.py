"""Where an artifact came from: code, package versions, machine."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "rowpick", "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "sentence-transformers",
    "scikit-learn", "numpy", "liger-kernel",
)  # fmt: skip


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).resolve().parent
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The type of the CPU: the last bits of arithmetic are the same on one type only."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def collect_provenance(device: str = "cpu") -> dict[str, Any]:
    """Git commit and whether the tree was dirty (null outside a checkout), versions, Python, platform and device."""
    commit = _git("rev-parse", "HEAD")
    return {
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git("status", "--porcelain")),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "device": device,
    }
