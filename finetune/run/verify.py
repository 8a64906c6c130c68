"""`finetune verify`: a run's files, its checkpoints, and the selection it was trained on."""

from __future__ import annotations

from pathlib import Path

from curate.artifact import MANIFEST, Damage, artifact_kind
from curate.artifact.outputs import MISSING
from curate.artifact.verify import Verified, verify_artifact
from curate.errors import UserError
from finetune.run.base_model import require_same_base
from finetune.run.checkpoints import COMPLETE, damaged_in, numbered
from finetune.run.history_lines import HISTORY, TIMINGS, read_unfinished
from finetune.run.record import CHECKPOINTS, CONFIG, KIND, README, read_run, read_settings


def verify_run(folder: Path) -> Verified:
    """Return what is wrong with a run, finished or not; artifacts of other kinds are looked at as they are."""
    every = numbered(folder / CHECKPOINTS)
    checkpoints = [path / COMPLETE for path in every if (path / COMPLETE).exists()]
    broken_off = [path for path in every if not (path / COMPLETE).exists()]
    damaged = [Damage(path / COMPLETE, f"{MISSING}: resuming passes {path.name} over") for path in broken_off]
    damaged += [
        Damage(bad, f"is not as it was when {path.parent.name} was complete")
        for path in checkpoints
        for bad in damaged_in(path.parent)
    ]
    if not (folder / MANIFEST).is_file() and (folder / CONFIG).is_file():
        return Verified(folder, 2 + len(checkpoints), [*_unfinished(folder), *damaged])
    verified = verify_artifact(folder)
    if not verified.damaged and artifact_kind(folder) == KIND:
        try:
            run = read_run(folder)
            run.read_selection()
            require_same_base(run.manifest.config, run.config.model, folder.name)
        except UserError as error:
            damaged.append(Damage(folder, f"cannot be used: {error.what.removesuffix('.')}"))
    return Verified(folder, verified.files + len(checkpoints), [*verified.damaged, *damaged])


def _unfinished(folder: Path) -> list[Damage]:
    """What is wrong with the settings and the lines of a run that has not ended."""
    ended = (folder / README).is_file()  # written last, but for the manifest
    damaged = [Damage(folder / MANIFEST, MISSING)] if ended else []
    for name in (CONFIG, HISTORY, TIMINGS):
        try:
            if name == CONFIG:
                read_settings(folder)
            else:
                read_unfinished(folder, name)
        except UserError as error:
            damaged.append(Damage(folder / name, error.what.removeprefix(f"{folder / name} ").removesuffix(".")))
    return damaged
