"""Rows from a dataset on the hub, with the revision they had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import datasets
from huggingface_hub import HfApi, constants

from curate.artifact.manifest_schema import FileRecord
from curate.errors import UserError
from curate.errors.hub import explain_hub_error
from curate.pool.read_options import ReadOptions
from curate.sources.reader import RowReader, travelling
from curate.sources.shapes import recognise
from curate.sources.types import LoadedPool, pool_digest

SPLIT = "train"


def load_hub(dataset: str, columns: Mapping[str, str] | None, options: ReadOptions) -> LoadedPool:
    """The `train` split, or the only one, of a hub dataset `OWNER/NAME[@REVISION]`; the commit's id is recorded.

    The rows are those of that commit, whatever happens to the branch meanwhile. No code of the dataset is run.
    """
    repo_id, _, wanted = dataset.partition("@")
    try:
        splits, revision, notes = _fetch(repo_id, wanted or None)
    except UserError:
        raise
    except Exception as error:  # the libraries raise dozens of classes, those of three HTTP clients among them
        raise explain_hub_error(error, repo_id, "dataset", wanted or None) from error
    split, not_read = _only_split(splits, repo_id)
    reader = RowReader(columns, options)
    reader.read(_records(split, columns, repo_id), repo_id)
    notes += not_read + reader.finish(repo_id)
    digest = pool_digest(reader.rows)
    inputs = [FileRecord(file=f"{repo_id}@{revision}", sha256=digest, rows=len(reader.rows))]
    return LoadedPool(reader.rows, repo_id, revision, digest, inputs, notes, reader.excluded)


def _fetch(repo_id: str, wanted: str | None) -> tuple[Any, str, list[str]]:
    """All splits, the commit they are of, and notes; with HF_HUB_OFFLINE set, those of the copy fetched before."""
    if constants.is_offline_mode():
        builder = datasets.load_dataset_builder(repo_id, revision=wanted)
        revision = str(builder.hash)
        if wanted not in (None, revision):
            raise UserError(
                f"HF_HUB_OFFLINE is set, and the copy of {repo_id} on this machine is of {revision}, not {wanted}.",
                f"Unset HF_HUB_OFFLINE, or name {repo_id}@{revision}.",
            )
        return builder.as_dataset(), revision, [f"HF_HUB_OFFLINE is set: {repo_id} is the copy fetched before."]
    revision = str(HfApi().dataset_info(repo_id, revision=wanted).sha)
    builder = datasets.load_dataset_builder(repo_id, revision=revision)
    if builder.hash != revision:  # datasets takes another copy it has kept when the network fails from here on
        raise ConnectionError(f"only the older commit {builder.hash} is on this machine")
    builder.download_and_prepare()
    return builder.as_dataset(), revision, []


def _only_split(loaded: Mapping[str, Any], repo_id: str) -> tuple[Any, list[str]]:
    names = list(loaded)
    if SPLIT in names:
        others = ", ".join(name for name in names if name != SPLIT)
        return loaded[SPLIT], [f"{repo_id}: the split {SPLIT} was read; not read: {others}."] if others else []
    if len(names) == 1:
        return loaded[names[0]], []
    raise UserError(
        f"The dataset {repo_id} has no split {SPLIT} but {', '.join(names)}.",
        "Download the file you want and name it with --dataset.",
    )


def _records(split: Any, columns: Mapping[str, str] | None, repo_id: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    names = tuple(split.column_names)
    needed = recognise(names, columns, repo_id, {}).top_names  # other columns may hold images and the like
    needed += [path[0] for path in travelling(names, ()).values() if path[0] not in needed]
    for number, record in enumerate(split.select_columns(needed), start=1):
        yield f"{repo_id} row {number}", record
