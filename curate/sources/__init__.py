"""Where rows come from: a hub dataset, local files, or the installed standard library."""

from __future__ import annotations

from pathlib import Path

from curate.defaults import STDLIB
from curate.errors import UserError
from curate.sources.columns import parse_columns
from curate.sources.files import load_files, looks_local
from curate.sources.hub import load_hub
from curate.sources.stdlib import load_stdlib
from curate.sources.types import LoadedPool


def load_rows(dataset: str, columns: str | None = None) -> LoadedPool:
    """The pool that `dataset` names: "stdlib", an existing file or folder, or a hub id with an optional @revision.

    `columns` is `instruction=NAME,output=NAME[,input=NAME]`, for sources whose columns are not recognised.
    """
    mapping = parse_columns(columns)
    if not dataset.strip():
        raise UserError("--dataset is empty.", f'Name a file, a folder, a hub dataset OWNER/NAME, or "{STDLIB}".')
    if dataset == STDLIB:
        return load_stdlib()

    if looks_local(dataset):
        return load_files(Path(dataset), mapping)

    return load_hub(dataset, mapping)
