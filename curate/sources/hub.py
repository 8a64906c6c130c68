"""Rows from a dataset on the hub, with the revision they had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import datasets
from huggingface_hub import HfApi, constants

from curate.artifact.manifest_schema import FileRecord
from curate.errors import UserError, did_you_mean
from curate.errors.hub import explain_hub_error
from curate.pool.read_options import ReadOptions
from curate.sources.reader import RowReader
from curate.sources.shapes import recognise
from curate.sources.travelling import travelling
from curate.sources.types import LoadedPool

SPLIT = "train"


@dataclass(frozen=True)
class _Fetched:
    """The splits of one subset of a dataset, each a table or a stream of rows, the commit they are of, and notes."""

    splits: Mapping[str, Any]
    revision: str
    notes: list[str]


def load_hub(dataset: str, columns: Mapping[str, str] | None, options: ReadOptions) -> LoadedPool:
    """Return the rows of a hub dataset `OWNER/NAME[@REVISION]`; the commit's id is recorded.

    Read is the split asked for, else `train` or the only one, of the subset asked for or the only one. The rows are
    those of that commit, whatever happens to the branch meanwhile. With `first` no more than those rows are fetched,
    file by file. No code of the dataset is run.
    """
    repo_id, _, wanted = dataset.partition("@")
    reader = RowReader(columns, options)
    try:
        fetched = _fetch(repo_id, wanted or None, options)
        split, not_read = _choose(fetched.splits, repo_id, options.split)
        reader.read(_records(split, reader, repo_id, options.first), repo_id)
    except UserError:
        raise
    except Exception as error:  # the libraries raise dozens of classes, those of three HTTP clients among them
        raise explain_hub_error(error, repo_id, "dataset", wanted or None) from error
    notes = fetched.notes + not_read + reader.finish(repo_id)
    if options.first is not None and len(reader.rows) == options.first:
        notes.append(f"Only the first {options.first} rows of {repo_id} were read.")
    rows = reader.rows.finish()
    digest = rows.digest()
    inputs = [FileRecord(file=f"{repo_id}@{fetched.revision}", sha256=digest, rows=len(rows))]
    return LoadedPool(rows, repo_id, fetched.revision, digest, inputs, notes, reader.excluded)


def _fetch(repo_id: str, wanted: str | None, options: ReadOptions) -> _Fetched:
    """Return the splits of a subset; with HF_HUB_OFFLINE set, those of the copy fetched before."""
    if constants.is_offline_mode():
        builder = datasets.load_dataset_builder(repo_id, name=options.subset, revision=wanted)
        revision = str(builder.hash)
        if wanted not in (None, revision):
            raise UserError(
                f"HF_HUB_OFFLINE is set, and the copy of {repo_id} on this machine is of {revision}, not {wanted}.",
                f"Unset HF_HUB_OFFLINE, or name {repo_id}@{revision}.",
            )
        return _Fetched(
            builder.as_dataset(), revision, [f"HF_HUB_OFFLINE is set: {repo_id} is the copy fetched before."]
        )
    revision = str(HfApi().dataset_info(repo_id, revision=wanted).sha)
    builder = _builder(repo_id, revision, options.subset)
    if builder.hash != revision:  # datasets takes another copy it has kept when the network fails from here on
        raise ConnectionError(f"only the older commit {builder.hash} is on this machine")
    if options.first is not None:
        return _Fetched(builder.as_streaming_dataset(), revision, [])
    builder.download_and_prepare()
    return _Fetched(builder.as_dataset(), revision, [])


def _builder(repo_id: str, revision: str, subset: str | None) -> Any:
    """Return the builder of a subset; where it has to be named, or is not there, say which there are."""
    try:
        return datasets.load_dataset_builder(repo_id, name=subset, revision=revision)
    except ValueError as error:
        names = _subsets(repo_id, revision)
        if len(names) < 2 or subset in names:
            raise
        if subset is None:
            what = f"The dataset {repo_id} has several subsets, and which one is not said."
            raise UserError(what, f"Name one: {_paste('subset', names)}") from error
        what = f'The dataset {repo_id} has no subset "{subset}".'
        raise UserError(what, did_you_mean(subset, names)) from error


def _subsets(repo_id: str, revision: str) -> list[str]:
    try:
        return list(datasets.get_dataset_config_names(repo_id, revision=revision))
    except Exception:  # the first error is the one to explain
        return []


def _paste(option: str, names: Sequence[str]) -> str:
    return ", ".join(f"--{option} {name}" for name in names)


def _choose(splits: Mapping[str, Any], repo_id: str, wanted: str | None) -> tuple[Any, list[str]]:
    """Return the split to read, and a note that names the others."""
    names = list(splits)
    if wanted is not None and wanted not in names:
        raise UserError(f'The dataset {repo_id} has no split "{wanted}".', did_you_mean(wanted, names))
    name = wanted or (SPLIT if SPLIT in names else names[0] if len(names) == 1 else None)
    if name is None:
        raise UserError(
            f"The dataset {repo_id} has no split {SPLIT} but {', '.join(names)}.", f"Name one: {_paste('split', names)}"
        )
    others = ", ".join(other for other in names if other != name)
    notes = [f"{repo_id}: the split {name} was read; not read: {others}."] if others and wanted is None else []
    return splits[name], notes


def _records(
    split: Iterable[Mapping[str, Any]], reader: RowReader, repo_id: str, first: int | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    known = getattr(split, "column_names", None)  # a stream of JSON lines learns its columns from its first rows
    if known is None:
        known = list(next(iter(split), {}))
    names = tuple(known)
    if not names:
        return
    reader.look(names)
    needed = recognise(names, reader.named, repo_id, {}).top_names  # other columns may hold images and the like
    needed += [path[0] for path in travelling(names, reader.conditions).values() if path[0] not in needed]
    for number, record in enumerate(islice(split.select_columns(needed), first), start=1):  # type: ignore[attr-defined]
        yield f"{repo_id} row {number}", record
