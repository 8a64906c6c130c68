"""Rows from a dataset on the hub, with the revision they had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from curate.errors import UserError
from curate.hub import explain_hub_error
from curate.sources import LoadedPool, pool_digest
from curate.sources.columns import MESSAGES, RowReader, recognise

SPLIT = "train"


def load_hub(dataset: str, columns: Mapping[str, str] | None) -> LoadedPool:
    """The `train` split, or the only one, of a hub dataset `OWNER/NAME[@REVISION]`; the commit's id is recorded.

    The rows are those of that commit, whatever happens to the branch meanwhile. No code of the dataset is run.
    """
    import datasets
    from huggingface_hub import HfApi

    from curate.artifact.manifest_schema import FileRecord

    repo_id, _, wanted = dataset.partition("@")
    try:
        revision = HfApi().dataset_info(repo_id, revision=wanted or None).sha
        loaded = datasets.load_dataset(repo_id, revision=revision)
    except Exception as error:
        raise explain_hub_error(error, repo_id, "dataset", wanted or None) from error
    split, note = _only_split(loaded, repo_id)
    reader = RowReader(columns)
    reader.read(_records(split, columns, repo_id), repo_id)
    notes = note + reader.finish(repo_id)
    digest = pool_digest(reader.rows)
    inputs = [FileRecord(file=f"{repo_id}@{revision}", sha256=digest, rows=len(reader.rows))]
    return LoadedPool(reader.rows, repo_id, revision, digest, inputs, notes, reader.excluded)


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
    mapping = recognise(tuple(split.column_names), columns, repo_id)
    needed = list(dict.fromkeys(mapping.values())) or [MESSAGES]  # other columns may hold images and the like
    for number, record in enumerate(split.select_columns(needed), start=1):
        yield f"{repo_id} row {number}", record
