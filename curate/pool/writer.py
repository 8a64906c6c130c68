"""Writing the pool at rest: rows as they come from any source, sorted by row_id on disk, never all in memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from curate.artifact import atomic_file, cache_dir, digest_json, file_lock
from curate.artifact.files import write_errors
from curate.artifact.sealed import read_folder_seal, seal_folder
from curate.pool.rows import Row
from curate.pool.table import CELL_ROWS, EXTRA, ROWS_FILE, PoolTable

RUN_ROWS = 8 * CELL_ROWS  # rows, or bytes of text, sorted in memory at a time
RUN_BYTES = 64 << 20
FINISHED = "finished"  # says that the folder of a pool is complete, and which digest its file has
_BYTES = pyarrow.large_binary()
_OWN = (
    ("row_index", pyarrow.int64()),
    ("row_id", pyarrow.uint64()),
    ("prompt_chars", pyarrow.int32()),
    ("output_chars", pyarrow.int32()),
    ("instruction", _BYTES),
    ("output", _BYTES),
    ("source", _BYTES),
)


@dataclass(frozen=True)
class Run:
    """Sorted rows in a file: `start` is what their row_index counts from, `ids` are theirs as numbers, in order, and
    `digest` is that of the rows as they came.
    """

    path: str
    start: int
    ids: NDArray[np.uint64]
    digest: str


class PoolWriter:
    """Takes rows in pool order. What exceeds a run is sorted and put aside in a folder (external merge sort: Knuth, The
    Art of Computer Programming, volume 3, section 5.4); `finish` merges the runs.

    A writer of a part of the pool puts its runs into `folder`, named by its `number`; the pool's own takes them over.
    """

    def __init__(self, folder: str | None = None, number: int = 0) -> None:
        self._folder = folder
        self._number = number
        self._rows: list[Row] = []
        self._bytes = 0
        self._length = 0
        self._aside: tempfile.TemporaryDirectory[str] | None = None
        self._runs: list[Run] = []

    def __len__(self) -> int:
        return self._length

    def append(self, row: Row) -> None:
        """Add the next row of the pool."""
        self._rows.append(row)
        self._length += 1
        self._bytes += len(row.instruction) + len(row.output)
        if len(self._rows) >= RUN_ROWS or self._bytes >= RUN_BYTES:
            self.put_aside()

    def take_over(self, part: PoolWriter) -> None:
        """Add the rows of another writer, all of them put aside, behind those of this one."""
        self.put_aside()
        self._runs += [replace(run, start=run.start + self._length) for run in part._runs]
        self._length += len(part)

    def folder(self) -> str:
        """Return where runs are put aside: a temporary folder that `finish` removes, where no other was named."""
        if self._folder is None:
            where = cache_dir("pools")
            with write_errors(where):
                self._aside = tempfile.TemporaryDirectory(prefix=".run-", dir=where)
                self._folder = self._aside.name
        return self._folder

    def put_aside(self) -> None:
        """Write the rows at hand to a run of their own."""
        if not self._rows:
            return
        run, digest = _sorted_run(self._rows), _content_digest(self._rows)
        path = Path(self.folder()) / f"{self._number}-{len(self._runs)}.arrow"
        written = path.with_suffix(f".{os.getpid()}")  # a worker taken for dead may write the same run at the same time
        with write_errors(path):  # whoever reads the source would tell it as an error of that
            with pyarrow.OSFile(str(written), "wb") as sink, pyarrow.ipc.new_file(sink, run.schema) as file:
                file.write_table(run, max_chunksize=CELL_ROWS)
            written.replace(path)
        self._runs.append(Run(str(path), 0, np.array(run.column("row_id")), digest))
        self._rows, self._bytes = [], 0

    def finish(self) -> PoolTable:
        """Return the table: a file of the shared cache, under the digest of the rows in their order, written once."""
        if self._runs:
            self.put_aside()
        digests = [run.digest for run in self._runs] or [_content_digest(self._rows)]
        folder = cache_dir("pools") / digest_json(digests)[:32]
        with file_lock(folder.with_suffix(".lock")):
            if read_folder_seal(folder, FINISHED) is None:
                shutil.rmtree(folder, ignore_errors=True)
                if self._runs:
                    _write(folder / ROWS_FILE, *_merged(self._runs))
                else:
                    run = _sorted_run(self._rows)
                    _write(folder / ROWS_FILE, run.schema, [run])
                seal_folder(folder, FINISHED)
        if self._aside is not None:
            self._aside.cleanup()
        self._rows, self._runs = [], []
        return PoolTable(str((folder / ROWS_FILE).absolute()))


def _content_digest(rows: Iterable[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.row_id, row.source, sorted(row.extra.items())]).encode())
    return digest.hexdigest()


def _merged(runs: Sequence[Run]) -> tuple[Any, Iterator[Any]]:
    """Return the columns of all runs, and sorted tables that follow each other."""
    files = [pyarrow.ipc.open_file(pyarrow.memory_map(run.path)) for run in runs]
    schema = pyarrow.unify_schemas([file.schema for file in files])
    return schema, _merge(files, [run.ids for run in runs], [run.start for run in runs])


def _merge(runs: Sequence[Any], ids: Sequence[NDArray[np.uint64]], starts: Sequence[int]) -> Iterator[Any]:
    """Yield sorted tables of whole cells: for each, the next rows of every run are read in one piece."""
    run_of = np.repeat(np.arange(len(runs)), [len(each) for each in ids])
    order = run_of[np.argsort(np.concatenate(ids), kind="stable")]  # runs are in pool order, so ties stay in it
    taken = np.zeros(len(runs), dtype=np.int64)
    step = max(1, len(order) // len(runs) // CELL_ROWS) * CELL_ROWS  # as many rows as a run has
    for start in range(0, len(order), step):
        here = order[start : start + step]
        counts = np.bincount(here, minlength=len(runs))
        pieces = [_slice(run, int(taken[i]), int(counts[i]), starts[i]) for i, run in enumerate(runs) if counts[i]]
        taken += counts
        at = np.empty(len(here), dtype=np.int64)
        at[np.argsort(here, kind="stable")] = np.arange(len(here))
        joined = pyarrow.concat_tables(pieces, promote_options="default").combine_chunks()
        yield joined.take(pyarrow.array(at))


def write_table(rows: Iterable[Row]) -> PoolTable:
    """Return the table of rows given in pool order."""
    writer = PoolWriter()
    for row in rows:
        writer.append(row)
    return writer.finish()


def _sorted_run(rows: Sequence[Row]) -> Any:
    """An Arrow table of rows in (row_id, row_index) order."""
    ids = np.array([int(row.row_id, 16) for row in rows], dtype=np.uint64)
    rows = [rows[i] for i in np.argsort(ids, kind="stable").tolist()]
    columns: dict[str, Any] = {
        "row_index": [row.row_index for row in rows],
        "row_id": np.sort(ids),
        "prompt_chars": [len(row.instruction) for row in rows],
        "output_chars": [len(row.output) for row in rows],
        "instruction": [_stored(row.instruction) for row in rows],
        "output": [_stored(row.output) for row in rows],
        "source": [_stored(row.source) for row in rows],
    }
    schema = list(_OWN)
    for name in sorted({name for row in rows for name in row.extra}):
        columns[EXTRA + name] = [_stored(row.extra[name]) if name in row.extra else None for row in rows]
        schema.append((EXTRA + name, _BYTES))
    return pyarrow.table(columns, schema=pyarrow.schema(schema))


def _stored(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _slice(run: Any, at: int, n: int, start: int) -> Any:
    """Rows `at` to `at + n` of a run, whose batches hold `CELL_ROWS` rows each; their row_index counts from `start`."""
    first, last = at // CELL_ROWS, (at + n - 1) // CELL_ROWS
    batches = [run.get_batch(number) for number in range(first, last + 1)]
    rows = pyarrow.Table.from_batches(batches).slice(at - first * CELL_ROWS, n)
    return rows.set_column(0, rows.schema.field(0), pyarrow.compute.add(rows.column(0), start)) if start else rows


def _write(path: Path, schema: Any, tables: Iterable[Any]) -> None:
    """Write tables behind one another in batches of `CELL_ROWS`; a column that a table does not have is null in it."""
    with atomic_file(path) as file, pyarrow.ipc.new_file(pyarrow.PythonFile(file, "w"), schema) as written:
        for table in tables:
            missing = [name for name in schema.names if name not in table.column_names]
            for name in missing:
                table = table.append_column(name, pyarrow.nulls(len(table), _BYTES))
            written.write_table(table.select(schema.names).combine_chunks(), max_chunksize=CELL_ROWS)
