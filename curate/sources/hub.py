"""Rows from a dataset on the hub, with the revision they had."""

from __future__ import annotations

from collections.abc import Mapping

from curate.hub import explain_hub_error
from curate.rows import Row, build_row
from curate.sources import LoadedPool, pool_digest
from curate.sources.columns import UnusableRow, read_pair, recognise


def load_hub(dataset: str, columns: Mapping[str, str] | None) -> LoadedPool:
    """The `train` split (else the only one) of a hub dataset `OWNER/NAME[@REVISION]`; the commit is recorded."""
    import datasets
    from huggingface_hub import HfApi

    repo_id, _, wanted = dataset.partition("@")
    try:
        revision = HfApi().dataset_info(repo_id, revision=wanted or None).sha
        loaded = datasets.load_dataset(repo_id, revision=revision)
    except Exception as error:
        raise explain_hub_error(error, repo_id, "dataset") from error
    split = loaded["train"] if "train" in loaded else loaded[next(iter(loaded))]
    mapping = recognise(set(split.column_names), columns, repo_id)
    rows: list[Row] = []
    excluded: dict[int, tuple[str, str | None]] = {}
    for index, record in enumerate(split):
        try:
            pair = read_pair(record, mapping, f"{repo_id} row {index + 1}")
        except UnusableRow as unusable:
            excluded[index] = (unusable.reason, unusable.detail)
            pair = (str(record.get("messages")), "")
        rows.append(build_row(index, *pair, source=repo_id))
    return LoadedPool(rows, repo_id, revision, pool_digest(rows), [], [], excluded)
