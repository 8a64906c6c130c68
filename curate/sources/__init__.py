"""Where rows come from: the installed standard library, local files, a hub dataset, or a source of another package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from curate.defaults import STDLIB
from curate.engines.types import Engine
from curate.errors import UsageError, UserError
from curate.extensions import Table
from curate.pool.read_options import ReadOptions, is_remote
from curate.sources.files import load_files, load_remote, looks_local
from curate.sources.hub import load_hub
from curate.sources.shapes import parse_columns
from curate.sources.stdlib import load_stdlib
from curate.sources.types import LoadedPool

Columns = Mapping[str, str] | None


@dataclass(frozen=True)
class Source:
    """One line of the table: which datasets it serves, and the function that loads one of them.

    Another package adds one with an entry point of the group `rowpick.sources`; it serves what users write as
    `--dataset NAME:REST` and is given REST. `load` is given the dataset, the columns, how to read, and, where it
    `takes_engine`, the engine whose workers may read (None: nobody's).
    """

    load: Callable[..., LoadedPool]
    serves: Callable[[str], bool] = lambda dataset: False
    takes_subset: bool = False
    takes_engine: bool = False

    def read(self, dataset: str, columns: Columns, options: ReadOptions, engine: Engine | None) -> LoadedPool:
        """Return the pool."""
        return self.load(dataset, columns, options, *([engine] if self.takes_engine else []))


def _load_files(dataset: str, columns: Columns, options: ReadOptions, engine: Engine | None) -> LoadedPool:
    return load_files(Path(dataset), columns, options, engine)


# In the order they are asked: the first that serves a dataset loads it.
SOURCES = Table(
    "rowpick.sources",
    Source,
    {
        STDLIB: Source(lambda dataset, columns, options: load_stdlib(), lambda dataset: dataset == STDLIB),
        "remote": Source(load_remote, is_remote, takes_engine=True),
        "files": Source(_load_files, looks_local, takes_engine=True),
        "hub": Source(load_hub, lambda dataset: True, takes_subset=True),
    },
)


def load_rows(
    dataset: str, columns: str | None = None, options: ReadOptions | None = None, engine: Engine | None = None
) -> LoadedPool:
    """Return the pool that `dataset` names: "stdlib", an existing file or folder, an address such as
    s3://BUCKET/FOLDER, or a hub id [@REVISION].

    `columns` is `instruction=NAME,output=NAME[,input=NAME]`, or `messages=NAME` for a conversation, for sources whose
    columns are not recognised. The workers of `engine` read where a source is large.
    """
    options = options or ReadOptions()
    options.check()
    mapping = parse_columns(columns)
    if not dataset.strip():
        raise UserError("--dataset is empty.", f'Name a file, a folder, a hub dataset OWNER/NAME, or "{STDLIB}".')
    name, _, rest = dataset.partition(":")
    if name in SOURCES.added:
        return SOURCES[name].read(rest, mapping, options, engine)
    source = next(source for source in SOURCES.own.values() if source.serves(dataset))
    for option in ("subset", "split", "first"):
        if getattr(options, option) is not None and not source.takes_subset:
            raise UsageError(f"--{option} is for datasets of the hub, and {dataset} is none.", "Leave it out.")
    return source.read(dataset, mapping, options, engine)
