"""What every source returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from curate.artifact.manifest_schema import FileRecord
from curate.pool.table import PoolTable
from curate.pool.writer import write_table


@dataclass(frozen=True)
class LoadedPool:
    """A pool as read: every row of the source, in its order; `rows[i].row_index == i`.

    `excluded` maps a row_index to (reason code, detail) where a row cannot be used; `digest` is that of the rows in
    the order of their ids, so that it does not depend on the order of the source; `revision` is the commit of a hub
    dataset, the Python version for `stdlib`, None for files; `notes` are sentences for people.
    """

    rows: PoolTable
    source: str
    revision: str | None
    digest: str
    inputs: list[FileRecord]
    notes: list[str] = field(default_factory=list)
    excluded: dict[int, tuple[str, str | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.rows, PoolTable):  # a source that holds all its rows may hand over a list
            object.__setattr__(self, "rows", write_table(self.rows))
