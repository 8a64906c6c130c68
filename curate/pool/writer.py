"""Writing the pool at rest: rows as they come from any source, sorted by row_id on disk, never all in memory."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from curate.artifact import atomic_file, cache_dir, file_lock
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


class PoolWriter:
    """Takes rows in pool order. What exceeds a run is sorted and put aside in a temporary folder (external merge sort:
    Knuth, The Art of Computer Programming, volume 3, section 5.4); `finish` merges the runs.
    """

    def __init__(self) -> None:
        self._content = hashlib.sha256()
        self._rows: list[Row] = []
        self._bytes = 0
        self._length = 0
        self._aside: tempfile.TemporaryDirectory[str] | None = None
        self._runs: list[Path] = []
        self._ids: list[NDArray[np.uint64]] = []

    def __len__(self) -> int:
        return self._length

    def append(self, row: Row) -> None:
        """Add the next row of the pool."""
        self._content.update(json.dumps([row.row_id, row.source, sorted(row.extra.items())]).encode())
        self._rows.append(row)
        self._length += 1
        self._bytes += len(row.instruction) + len(row.output)
        if len(self._rows) >= RUN_ROWS or self._bytes >= RUN_BYTES:
            self._put_aside()

    def finish(self) -> PoolTable:
        """Return the table: a file of the shared cache, under the digest of the rows in their order, written once."""
        folder = cache_dir("pools") / self._content.hexdigest()[:32]
        with file_lock(folder.with_suffix(".lock")):
            if read_folder_seal(folder, FINISHED) is None:
                shutil.rmtree(folder, ignore_errors=True)
                if self._runs:
                    self._put_aside()
                    _write(folder / ROWS_FILE, *self._merged())
                else:
                    run = _sorted_run(self._rows)
                    _write(folder / ROWS_FILE, run.schema, [run])
                seal_folder(folder, FINISHED)
        if self._aside is not None:
            self._aside.cleanup()
        self._rows = []
        return PoolTable(str((folder / ROWS_FILE).absolute()))

    def _put_aside(self) -> None:
        if not self._rows:
            return
        if self._aside is None:
            self._aside = tempfile.TemporaryDirectory(prefix=".run-", dir=cache_dir("pools"))
        run = _sorted_run(self._rows)
        path = Path(self._aside.name) / f"{len(self._runs)}.arrow"
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, run.schema) as file:
            file.write_table(run, max_chunksize=CELL_ROWS)
        self._runs.append(path)
        self._ids.append(np.array(run.column("row_id")))
        self._rows, self._bytes = [], 0

    def _merged(self) -> tuple[Any, Iterator[Any]]:
        """Return the columns of all runs, and sorted tables that follow each other."""
        runs = [pyarrow.ipc.open_file(pyarrow.memory_map(str(path))) for path in self._runs]
        return pyarrow.unify_schemas([run.schema for run in runs]), _merge(runs, self._ids)


def _merge(runs: Sequence[Any], ids: Sequence[NDArray[np.uint64]]) -> Iterator[Any]:
    """Yield sorted tables of whole cells: for each, the next rows of every run are read in one piece."""
    run_of = np.repeat(np.arange(len(runs)), [len(each) for each in ids])
    order = run_of[np.argsort(np.concatenate(ids), kind="stable")]  # runs are in pool order, so ties stay in it
    taken = np.zeros(len(runs), dtype=np.int64)
    step = max(1, len(order) // len(runs) // CELL_ROWS) * CELL_ROWS  # as many rows as a run has
    for start in range(0, len(order), step):
        here = order[start : start + step]
        counts = np.bincount(here, minlength=len(runs))
        pieces = [_slice(run, int(taken[i]), int(counts[i])) for i, run in enumerate(runs) if counts[i]]
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


def _slice(run: Any, start: int, n: int) -> Any:
    """Rows `start` to `start + n` of a run, whose batches hold `CELL_ROWS` rows each."""
    first, last = start // CELL_ROWS, (start + n - 1) // CELL_ROWS
    batches = [run.get_batch(number) for number in range(first, last + 1)]
    return pyarrow.Table.from_batches(batches).slice(start - first * CELL_ROWS, n)


def _write(path: Path, schema: Any, tables: Iterable[Any]) -> None:
    """Write tables behind one another in batches of `CELL_ROWS`; a column that a table does not have is null in it."""
    with atomic_file(path) as file, pyarrow.ipc.new_file(pyarrow.PythonFile(file, "w"), schema) as written:
        for table in tables:
            missing = [name for name in schema.names if name not in table.column_names]
            for name in missing:
                table = table.append_column(name, pyarrow.nulls(len(table), _BYTES))
            written.write_table(table.select(schema.names).combine_chunks(), max_chunksize=CELL_ROWS)
