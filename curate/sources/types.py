"""What every source returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from curate.artifact import digest_json
from curate.artifact.manifest_schema import FileRecord
from curate.pool.rows import Row


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


def pool_digest(rows: list[Row]) -> str:
    """Digest of the rows' ids, sorted."""
    return digest_json(sorted(row.row_id for row in rows))
