"""`verify`: every file of an artifact held against what its manifest recorded, and each bad one named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.artifact import MANIFEST, Damage, artifact_kind, damaged_files, read_manifest
from curate.errors import UserError


@dataclass(frozen=True)
class Verified:
    """An artifact that was looked at: how many files it has, and which of them are bad."""

    path: Path
    files: int
    damaged: list[Damage]

    def as_record(self) -> dict[str, Any]:
        """For `--json`."""
        bad = [{"file": str(each.path), "problem": each.problem} for each in self.damaged]
        return {"path": str(self.path), "files": self.files, "damaged": bad}


def verify_artifact(folder: Path) -> Verified:
    """Return what is wrong with the finished artifact in `folder`, of whichever kind, its manifest included."""
    try:
        manifest = read_manifest(folder, artifact_kind(folder))
    except UserError as error:
        problem = error.what.removeprefix(f"{folder / MANIFEST} ").removesuffix(".")
        return Verified(folder, 1, [Damage(folder / MANIFEST, problem)])
    return Verified(folder, len(manifest.outputs) + 1, damaged_files(folder, manifest))


def verify(
    given: Sequence[str],
    parents: Sequence[tuple[Path, str]],
    look: Callable[[Path], Verified] = verify_artifact,
) -> list[Verified]:
    """Look at the artifacts named by path or by name below one of `parents`; without names, at all there.

    `parents` are folders with the kind of artifact they hold.
    """
    if given:
        return [look(_find(name, [parent for parent, _ in parents])) for name in given]
    folders = [path.parent for parent, _ in parents for path in sorted(parent.glob(f"*/{MANIFEST}"))]
    kinds = {kind for _, kind in parents}
    return [look(folder) for folder in folders if _is_one_of(folder, kinds)]


def _is_one_of(folder: Path, kinds: set[str]) -> bool:
    """Whether the folder holds one of these kinds; a manifest that cannot be read may be of any."""
    try:
        return artifact_kind(folder) in kinds
    except UserError:
        return True


def _find(name: str, parents: Sequence[Path]) -> Path:
    for folder in (Path(name), *(parent / name for parent in parents)):
        if folder.is_dir():
            return folder
    raise UserError(f"There is no artifact {name}.", f"Name a folder, or one of those in {parents[0]}.")


def result_lines(verified: Sequence[Verified]) -> list[str]:
    """One line a whole artifact, and one a bad file."""
    lines = []
    for each in verified:
        lines += [str(damage) for damage in each.damaged] or [f"{each.path} is whole: {each.files} files."]
    return lines or ["There is nothing to verify."]


def require_all_whole(verified: Sequence[Verified]) -> None:
    """Raise a `UserError` that names every bad file of all that were looked at."""
    damaged = [damage for each in verified for damage in each.damaged]
    if damaged:
        raise UserError(
            f"{len(damaged)} bad file(s): {', '.join(str(damage.path) for damage in damaged)}.",
            "Give the command that made the artifact again: what can be made again is, and it says what cannot.",
        )
