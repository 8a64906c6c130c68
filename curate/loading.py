"""How tokenizers, configs, models and encoders of others are loaded: quietly, and never with code of theirs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from curate.errors import UserError
from curate.errors.hub import Kind, explain_hub_error, require_on_hub

NO_OWN_CODE = {"trust_remote_code": False}  # without it transformers asks "[y/N]", and y runs what it downloaded


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries' own progress bars and notices off the terminal while a local model loads."""
    shown = transformers_logging.is_progress_bar_enabled()
    before = logging.root.manager.disable
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def loading(source: str, kind: Kind) -> Iterator[None]:
    """Turn what goes wrong while `source` is loaded into one line with the next step.

    A `source` that needs code of its own (`auto_map`) is one of the things that go wrong.
    """
    if not source.strip():  # as a path it would be the folder one stands in
        raise UserError(f"The name of the {kind} is empty.", "Name a hub id, a folder, or smollm2-135m.")
    local = Path(source).exists()
    if not local:
        require_on_hub(source, kind)
    try:
        with quiet() if local else nullcontext():
            yield
    except UserError:
        raise
    except Exception as error:  # safetensors, tokenizers and json each raise classes of their own
        if "trust_remote_code" in str(error) or "custom code" in str(error):
            raise UserError(
                f"{source} asks for code of its own (auto_map), which is never run.",
                f"Use a {kind} of a kind that transformers knows.",
            ) from None
        if isinstance(error, (RuntimeError, MemoryError, AttributeError, ImportError)):
            raise
        if local:
            what = f"{source} holds no {kind} that can be loaded ({_one_line(error)})."
            raise UserError(what, "Check the folder.") from None
        raise explain_hub_error(error, source, kind) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def load_pretrained(loader: Any, source: str, kind: Kind, **arguments: Any) -> Any:
    """Return `loader.from_pretrained(source, ...)`: of a hub id or a folder, and without running code it brings."""
    with loading(source, kind):
        return loader.from_pretrained(source, **NO_OWN_CODE, **arguments)


def build_from_shape(loader: Any, shape: Any, name: str, **arguments: Any) -> Any:
    """Return `loader.from_config(shape, ...)`, without running code that the shape asks for."""
    try:
        return loader.from_config(shape, **NO_OWN_CODE, **arguments)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        what = f"{name} asks for code of its own (auto_map), which is never run."
        raise UserError(what, "Use a model of a kind that transformers knows.") from None
