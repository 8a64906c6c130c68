"""Where rows come from: a hub dataset, local files, or the installed standard library."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from curate.pool.rows import Row

if TYPE_CHECKING:
    from curate.artifact.manifest_schema import FileRecord

STDLIB = "stdlib"


@dataclass(frozen=True)
class LoadedPool:
    """A pool as read: every row of the source, in its order; `rows[i].row_index == i`.

    `excluded` maps a row_index to (reason code, detail) where a row cannot be used; `digest` is that of the rows in
    the order of their ids, so that it does not depend on the order of the source; `revision` is the commit of a hub
    dataset, the Python version for `stdlib`, None for files; `notes` are sentences for people.
    """

    rows: list[Row]
    source: str
    revision: str | None
    digest: str
    inputs: list[FileRecord]
    notes: list[str] = field(default_factory=list)
    excluded: dict[int, tuple[str, str | None]] = field(default_factory=dict)


def load_rows(dataset: str, columns: str | None = None) -> LoadedPool:
    """The pool that `dataset` names: "stdlib", an existing file or folder, or a hub id with an optional @revision.

    `columns` is `instruction=NAME,output=NAME[,input=NAME]`, for sources whose columns are not recognised.
    """
    from curate.errors import UserError
    from curate.sources.columns import parse_columns

    mapping = parse_columns(columns)
    if not dataset.strip():
        raise UserError("--dataset is empty.", f'Name a file, a folder, a hub dataset OWNER/NAME, or "{STDLIB}".')
    if dataset == STDLIB:
        from curate.sources.stdlib import load_stdlib

        return load_stdlib()
    from curate.sources.files import looks_local

    if looks_local(dataset):
        from curate.sources.files import load_files

        return load_files(Path(dataset), mapping)
    from curate.sources.hub import load_hub

    return load_hub(dataset, mapping)


def pool_digest(rows: list[Row]) -> str:
    """Digest of the rows' ids, sorted."""
    from curate.artifact import digest_json

    return digest_json(sorted(row.row_id for row in rows))
