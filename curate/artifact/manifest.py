"""The manifest: the last file of every artifact, and the proof that it is finished."""

from __future__ import annotations

import datetime
import functools
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curate.artifact.digest import digest_json
from curate.artifact.files import digest_as_written, refuse_constant, write_errors, write_json
from curate.artifact.manifest_schema import SETTINGS, FileRecord, Manifest
from curate.artifact.outputs import CHANGED, damaged_files, set_aside
from curate.artifact.provenance import collect_provenance
from curate.console import say
from curate.errors import UserError

MANIFEST = "manifest.json"
# kind -> (newest schema number, {older number: function that lifts a manifest to the next number})
SCHEMAS: dict[str, tuple[int, dict[int, Callable[[dict[str, Any]], dict[str, Any]]]]] = {
    "curate.selection": (2, {1: lambda manifest: manifest}),
    "finetune.run": (2, {1: lambda manifest: manifest}),
    "evaluate_suite.report": (3, {1: lambda manifest: manifest, 2: lambda manifest: manifest}),
    "curate.comparison": (2, {1: lambda manifest: manifest}),
    "finetune.padding_study": (2, {1: lambda manifest: manifest}),
    "finetune.influence": (1, {}),
    "evaluate_suite.mixture": (1, {}),
    "evaluate_suite.draws": (1, {}),
}
SIGNED = 2  # the first schema number whose manifests carry their own digest
_SIGNED_AT_ONCE = {"finetune.influence", "evaluate_suite.mixture", "evaluate_suite.draws"}  # kinds younger than that


def home() -> Path:
    """The folder where artifacts live: `$ROWPICK_HOME`, else `./artifacts`."""
    return Path(os.environ.get("ROWPICK_HOME") or "artifacts")


def cache_dir(*parts: str) -> Path:
    """A folder below the shared cache, created."""
    folder = home().joinpath("cache", *parts)
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def record_file(directory: str | Path, name: str, rows: int | None = None) -> FileRecord:
    """The manifest's record of `directory/name`: its name, the digest of the bytes as written, and its row count."""
    return FileRecord(file=name, sha256=digest_as_written(Path(directory) / name), rows=rows)


def sign(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """`manifest`, as JSON holds it, with the digest of everything else in it."""
    content = {name: value for name, value in manifest.items() if name != "manifest_digest"}
    return content | {"manifest_digest": digest_json(content)}


def write_manifest(
    directory: str | Path,
    *,
    kind: str,
    command: Sequence[str],
    config: Mapping[str, Any],
    seed: int | None,
    inputs: Sequence[FileRecord],
    outputs: Sequence[FileRecord],
    counts: Mapping[str, int],
    seconds: Mapping[str, float],
    device: str = "cpu",
) -> Manifest:
    """Write `manifest.json`, which declares the artifact of this `kind` finished: call it last."""
    manifest = Manifest(
        schema=f"{kind}/{SCHEMAS[kind][0]}",
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
    signed = sign(json.loads(json.dumps(manifest.model_dump(by_alias=True), allow_nan=False)))
    write_json(Path(directory) / MANIFEST, signed)
    return Manifest.model_validate(signed)


def read_manifest(directory: str | Path, kind: str) -> Manifest:
    """The manifest of a finished artifact of `kind` (such as "curate.selection"), lifted to the newest schema.

    Unfinished, unreadable, changed since it was written, of another kind, or written by a newer version: a `UserError`
    that says which.
    """
    path = Path(directory) / MANIFEST
    data, found, version = _read_signed(path)
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
        SETTINGS[kind].model_validate(data.get("config"))
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise UserError(
            f"{path} does not fit its schema ({where}: {first['msg']}).", "Remove the folder and make it again."
        ) from None


def artifact_kind(directory: str | Path) -> str:
    """The kind of the finished artifact in a folder, whichever it is."""
    return _read_signed(Path(directory) / MANIFEST)[1]


def _read_signed(path: Path) -> tuple[dict[str, Any], str, int]:
    """(content, kind, schema number) of a manifest that is as it was written."""
    again = "Remove the folder and make the artifact again."
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is not a folder.", "Name the folder of a finished artifact.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
        kind, _, number = str(data["schema"]).partition("/")
        version = int(number)
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} is not finished: it has no {MANIFEST}.", "Run the command that makes it again."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).", again) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a manifest ({error}).", again) from None
    signed = version >= SIGNED or kind in _SIGNED_AT_ONCE
    if signed or "manifest_digest" in data:  # who edits the number cannot take the digest away with it
        newest = SCHEMAS.get(kind, (SIGNED, {}))[0]
        if version <= newest and data != sign(data):
            raise UserError(f"{path} was changed after it was written.", f"Put it back, or: {again}")
    return data, kind, version


def is_made(folder: Path, kind: str, digest_name: str, digest: str, ours: Collection[str]) -> bool:
    """Whether `folder` holds the whole artifact of `kind` whose config has this `digest` under `digest_name`.

    False where it is absent or broken off, or where a file of it is not what the manifest describes, which is said: it
    may be made there again. What was changed is kept beside it as NAME.changed. Files other than those in `ours`, the
    manifest and what is left of `.part` and `.changed` files are a `UserError`.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file.", "Name a folder.")
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder, kind)
        if manifest.config.get(digest_name) != digest:
            raise UserError(
                f"{folder} holds another {kind.partition('.')[2]}.", "Name another --out, or remove that folder."
            )
        damaged = damaged_files(folder, manifest)
        for each in damaged:
            kept = set_aside(each.path)
            say(f"{each}" + (f" It is kept as {kept.name};" if kept else "") + " making it again.")
        if not damaged:
            return True
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [n for n in names if n not in (*ours, MANIFEST) and not n.endswith((".part", CHANGED))]
    if foreign:
        raise UserError(f"{folder} is not empty (it holds {foreign[0]}).", "Name an empty or new folder.")
    return False


def finished(parent: str | Path, kind: str) -> list[Path]:
    """The finished artifacts of `kind` directly below `parent`, oldest first by the manifest's `created_at`.

    One whose manifest cannot be read, or was changed, is left out, and said.
    """
    folders = []
    for folder in sorted(Path(parent).iterdir()) if Path(parent).is_dir() else []:
        if not (folder / MANIFEST).is_file():
            continue
        try:
            if artifact_kind(folder) == kind:
                folders.append((read_manifest(folder, kind).created_at, folder))
        except UserError as error:
            _say_once(f"Passing over {folder}: {error.what}")
    return [folder for _, folder in sorted(folders)]


@functools.cache
def _say_once(message: str) -> None:
    say(message)


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
