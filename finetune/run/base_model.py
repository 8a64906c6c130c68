"""Which weights a run was trained on: a folder's may be replaced under the same path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.artifact import digest_file, digest_json
from curate.defaults import SMOLLM2
from curate.errors import UserError
from curate.tokens.tokenizers import smollm2_folder

BASE_DIGEST = "base_model_digest"
_LOADED = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
)  # what a model is made of; nothing else is loaded


def base_model_digest(model: str) -> str | None:
    """Return the digest of a local model's shape and weights; None for a hub id, whose files are the hub's.

    Read once in a process: a second for every gigabyte or two.
    """
    if model == SMOLLM2:
        folder, gguf = smollm2_folder()
        return digest_file(folder / gguf)
    paths = sorted(path for pattern in _LOADED for path in Path(model).glob(pattern))
    return digest_json([[path.name, digest_file(path)] for path in paths]) if paths else None


def require_same_base(recorded: Mapping[str, Any], model: str, run: str) -> None:
    """Raise a `UserError` where `model` is no longer what the run `run` recorded that it was trained on."""
    before, now = recorded.get(BASE_DIGEST), base_model_digest(model)
    if before is not None and now is not None and before != now:
        raise UserError(
            f"{model} is not the model that {run} was trained on: its weights or its config.json were changed since.",
            "Put them back, or train anew on this model.",
        )
