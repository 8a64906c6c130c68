"""Checkpoints that a kill at any instant leaves usable: each is whole or is thrown away, and so is the best adapter.

Order of writing: the checkpoint's files, the history up to its step, the best adapter as of this step (`best-STEP`),
everything synced, then the marker `complete` with the digests of all of them, and only then the best adapters that no
complete checkpoint names any more are removed. So the newest whole checkpoint always finds the best adapter that the
history up to its step names; one whose files are not those that were written is passed over for the one before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from curate.artifact import digest_file, write_json
from curate.artifact.sealed import bad_files, changed_files, read_folder_seal, seal_folder
from curate.console import say
from curate.errors import UserError
from finetune.config import read_yaml
from finetune.run.history import History
from finetune.run.record import resuming

COMPLETE = "complete"  # says that a checkpoint was written to its end, and which digests its files have
METER = "meter.json"
CONFIG = "config.yaml"
RUN = "run"
BEST = "best"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint or of a best adapter."""
    return int(checkpoint.name.rpartition("-")[2])


def numbered(folder: Path, name: str = "checkpoint") -> list[Path]:
    """The checkpoints in a folder, or its best adapters, by step; a copy that somebody put beside them is none."""
    return sorted((p for p in folder.glob(f"{name}-*") if re.fullmatch(rf"{name}-\d+", p.name)), key=step_of)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`.

    What a kill left half-written is removed; so is, and that is said, a checkpoint with a file that was changed since.
    A checkpoint of another run than the folder's `config.yaml` describes is a `UserError`.
    """
    for path in folder.glob(".*.part"):
        shutil.rmtree(path)
    whole = None
    for path in numbered(folder):
        if is_whole(path):
            if (read_folder_seal(path, COMPLETE) or {}).get(RUN) != _run_of(folder):
                raise UserError(
                    f"{path} is of another run than {folder.parent / CONFIG}.",
                    "Put the run's own files back, or remove the folder and train again.",
                )
            whole = path
            continue
        if (path / COMPLETE).is_file():
            say(f"Passing over {path}: its files are not those that were written.")
        shutil.rmtree(path)
    return whole


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end and every file of it, and of its best adapter, is as it was then."""
    return not damaged_in(checkpoint)


def damaged_in(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint, and of its best adapter, that are not as they were when it was complete."""
    damaged = bad_files(checkpoint, COMPLETE)
    seal = read_folder_seal(checkpoint, COMPLETE)
    return damaged if seal is None else changed_files(checkpoint.parent / seal[BEST]["folder"], seal[BEST]["files"])


def complete_checkpoint(folder: Path, step: int, history: History, meter_state: dict[str, Any]) -> None:
    """Keep the adapter of `step` where it is the best so far, then mark the checkpoint as whole."""
    checkpoint = folder / f"checkpoint-{step}"
    write_json(checkpoint / METER, meter_state)
    history.write(checkpoint)
    best = best_step(history)
    if best in (None, step):
        _keep(folder, checkpoint)
        best = step
    kept = folder / f"{BEST}-{best}"
    _sync(checkpoint)
    files = {name: digest_file(kept / name) for name in ADAPTER_FILES}
    seal_folder(checkpoint, COMPLETE, **{RUN: _run_of(folder), BEST: {"folder": kept.name, "files": files}})
    named = {_best_named(path) for path in folder.glob("checkpoint-*")}
    for path in numbered(folder, BEST):
        if path.name not in named:
            shutil.rmtree(path)


def _run_of(folder: Path) -> str | None:
    """The digest of the run that the checkpoints in `folder` are of, by the settings beside them."""
    path = folder.parent / CONFIG
    return str(read_yaml(path).get("run_digest")) if path.is_file() else None


def _best_named(checkpoint: Path) -> str | None:
    try:
        return str(json.loads((checkpoint / COMPLETE).read_text())[BEST]["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_meter_state(checkpoint: Path) -> dict[str, Any]:
    """What `complete_checkpoint` was given."""
    state: dict[str, Any] = json.loads((checkpoint / METER).read_text())
    return state


def best_step(history: History) -> int | None:
    """The step of the lowest eval loss; None where none was measured: then the last one counts as the best."""
    best = history.best()
    return None if best is None else best[0]


def hand_out_adapter(folder: Path, history: History, target: Path) -> None:
    """Put the best adapter into `target` once training has ended; it must be the one that was kept."""
    best = best_step(history)
    kept = numbered(folder, BEST)
    source = kept[-1] if best is None else folder / f"{BEST}-{best}"
    newest = numbered(folder)[-1]
    shutil.rmtree(target, ignore_errors=True)
    if is_whole(newest) and _best_named(newest) == source.name:
        shutil.copytree(source, target)
        if all(digest_file(target / name) == digest_file(source / name) for name in ADAPTER_FILES):
            return
    raise UserError(
        f"The best adapter {source} is not the one that was kept.",
        f"Train its steps again: {resuming(folder.parent)}",
    )


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
