"""The manifest: the last file of every artifact, and the proof that it is finished."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curate.artifact.digest import digest_file
from curate.artifact.files import write_json
from curate.artifact.manifest_schema import FileRecord, Manifest
from curate.artifact.provenance import collect_provenance
from curate.errors import UserError

MANIFEST = "manifest.json"
# kind -> (newest schema number, {older number: function that lifts a manifest to the next number})
SCHEMAS: dict[str, tuple[int, dict[int, Callable[[dict[str, Any]], dict[str, Any]]]]] = {
    "curate.selection": (1, {}),
    "finetune.run": (1, {}),
    "evaluate_suite.report": (1, {}),
    "curate.comparison": (1, {}),
    "finetune.padding_study": (1, {}),
}


def home() -> Path:
    """The folder where artifacts live: `$ROWPICK_HOME`, else `./artifacts`."""
    return Path(os.environ.get("ROWPICK_HOME") or "artifacts")


def cache_dir(*parts: str) -> Path:
    """A folder below the shared cache, created."""
    folder = home().joinpath("cache", *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def record_file(directory: str | Path, name: str, rows: int | None = None) -> FileRecord:
    """The manifest's record of `directory/name`: its name, digest and row count."""
    return FileRecord(file=name, sha256=digest_file(Path(directory) / name), rows=rows)


def write_manifest(
    directory: str | Path,
    *,
    schema: str,
    command: Sequence[str],
    config: Mapping[str, Any],
    seed: int | None,
    inputs: Sequence[FileRecord],
    outputs: Sequence[FileRecord],
    counts: Mapping[str, int],
    seconds: Mapping[str, float],
    device: str = "cpu",
) -> Manifest:
    """Write `manifest.json`, which declares the artifact finished: call it last."""
    manifest = Manifest(
        schema=schema,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
        command=list(command),
        config=dict(config),
        seed=seed,
        inputs=list(inputs),
        outputs=list(outputs),
        counts=dict(counts),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        provenance=collect_provenance(device),
    )
    write_json(Path(directory) / MANIFEST, manifest.model_dump(by_alias=True))
    return manifest


def read_manifest(directory: str | Path, kind: str) -> Manifest:
    """The manifest of a finished artifact of `kind` (such as "curate.selection"), lifted to the newest schema.

    Unfinished, unreadable, of another kind, or written by a newer version: a `UserError` that says which.
    """
    path = Path(directory) / MANIFEST
    if not Path(directory).is_dir():
        raise UserError(f"{directory} is not a folder.", f"Name a finished {kind} artifact.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found, _, number = str(data["schema"]).partition("/")
        version = int(number)
    except FileNotFoundError:
        raise UserError(
            f"{directory} is not finished: it has no {MANIFEST}.", "Run the command that makes it again."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a manifest ({error}).", "Remove the folder and make the artifact again."
        ) from None
    if found != kind:
        raise UserError(f"{directory} is a {found} artifact, not a {kind}.", "Name another folder.")
    newest, migrations = SCHEMAS[kind]
    if version > newest:
        raise UserError(
            f"{directory} has schema {found}/{version}; this version reads up to {kind}/{newest}.", "Upgrade rowpick."
        )
    while version < newest:
        data = migrations[version](data)
        version += 1
        data["schema"] = f"{kind}/{version}"
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise UserError(
            f"{path} does not fit its schema: {error}", "Remove the folder and make the artifact again."
        ) from None


def is_made(folder: Path, kind: str, digest_name: str, digest: str, ours: Collection[str]) -> bool:
    """Whether `folder` holds the finished artifact of `kind` whose config has this `digest` under `digest_name`.

    False where it is absent, broken off, or a file of it has been deleted: it may be made there again. Files other than
    those in `ours`, the manifest and `.part` files are a `UserError`.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file.", "Name a folder.")
    if (folder / MANIFEST).is_file():
        made = read_manifest(folder, kind)
        if made.config.get(digest_name) != digest:
            raise UserError(
                f"{folder} holds another {kind.partition('.')[2]}.", "Name another --out, or remove that folder."
            )
        if all((folder / output.file).is_file() for output in made.outputs):
            return True
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in names if name not in (*ours, MANIFEST) and not name.endswith(".part")]
    if foreign:
        raise UserError(f"{folder} is not empty (it holds {foreign[0]}).", "Name an empty or new folder.")
    return False


def finished(parent: str | Path, kind: str) -> list[Path]:
    """The finished artifacts of `kind` directly below `parent`, oldest first by the manifest's `created_at`."""
    folders = []
    for folder in sorted(Path(parent).iterdir()) if Path(parent).is_dir() else []:
        if (folder / MANIFEST).is_file():
            try:
                folders.append((read_manifest(folder, kind).created_at, folder))
            except UserError:
                continue
    return [folder for _, folder in sorted(folders)]


def newest_finished(parent: str | Path, kind: str) -> Path | None:
    """The finished artifact of `kind` below `parent` that was made last, or None."""
    found = finished(parent, kind)
    return found[-1] if found else None


def find_artifact(given: str | Path | None, parent: str | Path, kind: str) -> Path:
    """The folder meant by `given`: a path, a name below `parent`, or, for None, the newest finished one."""
    if given is None:
        newest = newest_finished(parent, kind)
        if newest is None:
            raise UserError(f"There is no finished {kind} artifact in {parent}.", "Make one first, or name a folder.")
        return newest
    for folder in (Path(given), Path(parent) / str(given)):
        if folder.is_dir():
            return folder
    names = ", ".join(folder.name for folder in finished(parent, kind)) or "none"
    raise UserError(f"There is no {kind} artifact {given}.", f"Finished ones in {parent}: {names}.")
