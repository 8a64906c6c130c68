"""What a folder holds beside the files that are read from it, and what a user must know of it."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from curate.artifact import MANIFEST
from curate.artifact.manifest import home
from curate.errors import UserError

# Endings of files that may well hold rows, and are not read.
_UNREAD = {
    ".tsv", ".xls", ".xlsx", ".ods", ".arrow", ".feather", ".orc", ".avro", ".pkl", ".db", ".sqlite", ".zip",
    ".tar", ".tgz", ".bz2", ".xz", ".zst", ".7z",
}  # fmt: skip
_OURS = ("curate.", "finetune.", "evaluate_suite.")  # how the schemas of our manifests begin
_SPLIT = re.compile(r"(train|test|validation|valid|val|dev|eval)(?![a-z])", re.IGNORECASE)
_DICT, _SAVED = "dataset_dict.json", ("dataset_info.json", "state.json")


def refuse_written(folder: Path) -> None:
    """Raise a `UserError` where a program wrote a folder whose JSON files are no rows.

    Such are our own artifacts, and what `save_to_disk` of the library datasets writes.
    """
    kind = _artifact_kind(folder)
    if kind is not None:
        rows = folder / "selected.jsonl"
        step = f"Name its rows: --dataset {shlex.quote(str(rows))}" if rows.is_file() else "Name a folder of rows."
        raise UserError(f"The folder {folder} is an artifact of ours ({kind}), with more in it than rows.", step)
    if (folder / _DICT).is_file():
        splits = json.loads((folder / _DICT).read_text(encoding="utf-8")).get("splits") or ["train"]
        chosen = f"[{json.dumps('train' if 'train' in splits else splits[0])}]"
    elif all((folder / name).is_file() for name in _SAVED):
        chosen = ""
    else:
        return
    source, target = (json.dumps(str(each)) for each in (folder, folder.with_name(f"{folder.name}.parquet")))
    code = f"import datasets; datasets.load_from_disk({source}){chosen}.to_parquet({target})"
    raise UserError(
        f"The folder {folder} was written by save_to_disk of the library datasets.",
        f"Write its rows to a file, and name that: python -c {shlex.quote(code)}",
    )


def folder_notes(folder: Path, read: Sequence[Path]) -> list[str]:
    """Return notes on data files that are not among those `read`, and on splits that are read as one."""
    others = set(visible_files(folder)) - set(read)
    unread = Counter(path.suffix.lower() for path in others if path.suffix.lower() in _UNREAD)
    notes = []
    if unread:
        told = ", ".join(f"{ending} {n}" for ending, n in sorted(unread.items()))
        notes.append(f"Not read in the folder {folder}, because of their endings: {told}.")
    splits = {path: name for path in read if (name := _split_of(path.relative_to(folder)))}
    if len(names := sorted(set(splits.values()))) > 1:
        chosen = "train" if "train" in names else names[0]
        wanted = {path if path.parent == folder else path.parent for path, name in splits.items() if name == chosen}
        step = f"name it: --dataset {shlex.quote(str(*wanted))}" if len(wanted) == 1 else "give it a folder of its own"
        notes.append(f"The files of several splits ({', '.join(names)}) are read as one; for {chosen} alone {step}")
    return notes


def _is_ours(folder: Path) -> bool:
    return folder.resolve() == home().resolve() or _artifact_kind(folder) is not None


def _artifact_kind(folder: Path) -> str | None:
    """What an artifact of ours is, by its manifest; None for any other folder."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    schema = str(manifest.get("schema", "")) if isinstance(manifest, dict) else ""
    return schema if schema.startswith(_OURS) else None


def _split_of(path: Path) -> str | None:
    found = (_SPLIT.match(part) for part in path.parts)
    return next((match[1].lower() for match in found if match), None)


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield what is no folder below a folder, hidden things and our own artifacts apart.

    A folder that may not be read is an error.
    """

    def refuse(error: OSError) -> None:
        what = f"The folder {error.filename} could not be read ({error.strerror})."
        raise UserError(what, "Check its permissions: rows in it would be left out.") from None

    for at, folders, names in os.walk(folder, onerror=refuse):
        below = (name for name in folders if not name.startswith("."))
        folders[:] = [name for name in below if not _is_ours(Path(at) / name)]
        yield from (Path(at) / name for name in names if not name.startswith("."))
