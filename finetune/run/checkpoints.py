"""Checkpoints that a kill at any instant leaves usable: each is whole or is thrown away, and so is the best adapter.

Order of writing: the checkpoint's files, the best adapter as of this step (`best-STEP`), everything synced, then the
marker `complete`, and only then the best adapter that has been surpassed is removed. So the newest complete checkpoint
always finds the best adapter that the history up to its step names.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from curate.artifact import write_json, write_text
from finetune.run.history import History

COMPLETE = "complete"  # an empty file that says a checkpoint was written to its end
METER = "meter.json"
BEST = "best"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint or of a best adapter."""
    return int(checkpoint.name.rpartition("-")[2])


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in `folder` that was written to its end; what a kill left half-written is removed."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of)
    for path in found:
        if not (path / COMPLETE).is_file():
            shutil.rmtree(path)
    for path in folder.glob(".*.part"):
        shutil.rmtree(path)
    whole = [path for path in found if path.exists()]
    return whole[-1] if whole else None


def complete_checkpoint(folder: Path, step: int, history: History, meter_state: dict[str, Any]) -> None:
    """Keep the adapter of `step` where it is the best so far, then mark the checkpoint as whole."""
    checkpoint = folder / f"checkpoint-{step}"
    write_json(checkpoint / METER, meter_state)
    best = best_step(history)
    if best in (None, step):
        _keep(folder, checkpoint)
        best = step
    _sync(checkpoint)
    write_text(checkpoint / COMPLETE, "")
    for path in folder.glob(f"{BEST}-*"):
        if step_of(path) != best:
            shutil.rmtree(path)


def read_meter_state(checkpoint: Path) -> dict[str, Any]:
    """What `complete_checkpoint` was given."""
    state: dict[str, Any] = json.loads((checkpoint / METER).read_text())
    return state


def best_step(history: History) -> int | None:
    """The step of the lowest eval loss; None where none was measured: then the last one counts as the best."""
    best = history.best()
    return None if best is None else best[0]


def best_adapter(folder: Path, history: History) -> Path:
    """The folder of the adapter to hand out once training has ended."""
    best = best_step(history)
    kept = sorted(folder.glob(f"{BEST}-*"), key=step_of)
    return kept[-1] if best is None else folder / f"{BEST}-{best}"


def _keep(folder: Path, checkpoint: Path) -> None:
    target = folder / f"{BEST}-{step_of(checkpoint)}"
    fresh = folder / f".{target.name}.part"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name in ADAPTER_FILES:
        shutil.copyfile(checkpoint / name, fresh / name)
    _sync(fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    _sync_path(folder)


def _sync(folder: Path) -> None:
    """Have everything in `folder` on the disk."""
    for path in [*folder.iterdir(), folder]:
        _sync_path(path)


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
