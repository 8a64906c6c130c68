"""Where rows come from: a hub dataset, local files, or the installed standard library."""

from __future__ import annotations

from pathlib import Path

from curate.defaults import STDLIB
from curate.errors import UsageError, UserError
from curate.pool.read_options import ReadOptions
from curate.sources.files import load_files, looks_local
from curate.sources.hub import load_hub
from curate.sources.shapes import parse_columns
from curate.sources.stdlib import load_stdlib
from curate.sources.types import LoadedPool


def load_rows(dataset: str, columns: str | None = None, options: ReadOptions | None = None) -> LoadedPool:
    """Return the pool that `dataset` names: "stdlib", an existing file or folder, or a hub id [@REVISION].

    `columns` is `instruction=NAME,output=NAME[,input=NAME]`, for sources whose columns are not recognised.
    """
    options = options or ReadOptions()
    options.check()
    mapping = parse_columns(columns)
    if not dataset.strip():
        raise UserError("--dataset is empty.", f'Name a file, a folder, a hub dataset OWNER/NAME, or "{STDLIB}".')
    local = dataset != STDLIB and looks_local(dataset)
    for name in ("subset", "split", "first"):
        if getattr(options, name) is not None and (local or dataset == STDLIB):
            raise UsageError(f"--{name} is for datasets of the hub, and {dataset} is none.", "Leave it out.")
    if dataset == STDLIB:
        return load_stdlib()
    return load_files(Path(dataset), mapping, options) if local else load_hub(dataset, mapping, options)
