"""The pool at rest: an Arrow file in row_id order, read in blocks; no row is an object outside its block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, overload

import numpy as np
import pyarrow
from numpy.typing import NDArray

from curate.pool.rows import Row

CELL_ROWS = 4096  # rows whose arithmetic is done together, and a batch of the file
EXTRA = "extra."  # before the name of a column that travels
ROWS_FILE = "rows.arrow"


@dataclass(frozen=True)
class PoolTable(Sequence[Row]):
    """The rows of a pool, in a file: `table[i]` is the row with row_index i, read when it is asked for.

    A *place* is a row's position in the file, which is in (row_id, row_index) order. Texts are stored as UTF-8 bytes,
    lone surrogates included, because Arrow's own strings cannot hold those. Only the path travels to other processes.
    """

    path: str

    def __len__(self) -> int:
        return len(self.row_index)

    @overload
    def __getitem__(self, row_index: int) -> Row: ...
    @overload
    def __getitem__(self, row_index: slice) -> list[Row]: ...
    def __getitem__(self, row_index: int | slice) -> Row | list[Row]:
        if isinstance(row_index, slice):
            return self.read(self.place[row_index])
        return self.read(self.place[[row_index]])[0]

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), CELL_ROWS):
            yield from self.read(self.place[start : start + CELL_ROWS])

    def __getstate__(self) -> dict[str, str]:
        return {"path": self.path}

    def read(self, places: NDArray[np.int64]) -> list[Row]:
        """Return the rows at some places, in the order given. The file is mapped for the time of the call alone."""
        rows: list[Row] = []
        number = places // CELL_ROWS
        cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(places)]
        with pyarrow.memory_map(self.path) as source:
            file = pyarrow.ipc.open_file(source)
            for start, stop in pairwise(cuts):
                if start < stop:
                    batch = file.get_batch(int(number[start]))
                    rows += _rows(batch.take(pyarrow.array(places[start:stop] % CELL_ROWS)))
        return rows

    @cached_property
    def row_index(self) -> NDArray[np.int64]:
        """The row_index of every place (n,)."""
        return self._numbers("row_index")

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """The place of every row_index (n,)."""
        place = np.empty(len(self.row_index), dtype=np.int64)
        place[self.row_index] = np.arange(len(place))
        return place

    @cached_property
    def ids(self) -> NDArray[np.uint64]:
        """The row_id of every place as a number (n,), ascending."""
        return self._numbers("row_id")

    @cached_property
    def prompt_chars(self) -> NDArray[np.int32]:
        """Characters of the instruction at every place (n,)."""
        return self._numbers("prompt_chars")

    @cached_property
    def output_chars(self) -> NDArray[np.int32]:
        """Characters of the output at every place (n,)."""
        return self._numbers("output_chars")

    @cached_property
    def travelling(self) -> tuple[str, ...]:
        """The names of the columns that travel with any of the rows, in alphabetical order."""
        with pyarrow.memory_map(self.path) as source:
            names = pyarrow.ipc.open_file(source).schema.names
        return tuple(sorted(name.removeprefix(EXTRA) for name in names if name.startswith(EXTRA)))

    def places_of_ids(self, among: NDArray[np.int64], row_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return, for each row_id, the last place `among` those, which ascend, that has it."""
        ids = np.array([int(row_id, 16) for row_id in row_ids], dtype=np.uint64)
        return among[np.searchsorted(self.ids[among], ids, side="right") - 1]

    def row_id(self, place: int) -> str:
        """Return the row_id at a place."""
        return as_row_id(self.ids[place])

    def column(self, name: str) -> Any:
        """Return the texts of `source` or of a column that travels, in pool order, as an Arrow array of strings."""
        with pyarrow.memory_map(self.path) as source:
            file = pyarrow.ipc.open_file(source)
            stored = name if name == "source" else EXTRA + name
            parts = [file.get_batch(i).column(stored) for i in range(file.num_record_batches)]
            texts = pyarrow.concat_arrays(parts).take(pyarrow.array(self.place))
        try:
            return texts.cast(pyarrow.large_string())
        except pyarrow.ArrowInvalid:  # lone surrogates
            return pyarrow.array([_readable(text) for text in texts.to_pylist()], pyarrow.large_string())

    def digest(self) -> str:
        """Return the digest of the rows' ids, sorted: that of `digest_json(sorted(ids))`, without a list of them."""
        return _digest_list(self.ids)

    def order_digest(self) -> str:
        """Return the digest of the rows' ids in pool order."""
        return _digest_list(self.ids[self.place])

    def _numbers(self, name: str) -> NDArray[Any]:
        with pyarrow.memory_map(self.path) as source:
            file = pyarrow.ipc.open_file(source)
            parts = [np.array(file.get_batch(i).column(name)) for i in range(file.num_record_batches)]
        return np.concatenate(parts)


class Instructions(Mapping[str, str]):
    """The instructions of a pool by row_id, each read when it is asked for; the file stays mapped meanwhile."""

    def __init__(self, table: PoolTable) -> None:
        self._table = table
        self._file = pyarrow.ipc.open_file(pyarrow.memory_map(table.path))

    def __getitem__(self, row_id: str) -> str:
        place = int(np.searchsorted(self._table.ids, np.uint64(int(row_id, 16))))
        if place == len(self._table) or self._table.row_id(place) != row_id:
            raise KeyError(row_id)
        batch = self._file.get_batch(place // CELL_ROWS)
        return _text(batch.column("instruction")[place % CELL_ROWS].as_py())

    def __iter__(self) -> Iterator[str]:
        return map(as_row_id, self._table.ids)

    def __len__(self) -> int:
        return len(self._table)


def as_row_id(number: Any) -> str:
    """Return the row_id that a number stands for."""
    return f"{int(number):016x}"


def as_row_ids(numbers: NDArray[np.uint64]) -> list[str]:
    """Return the row_ids that numbers stand for."""
    digits = numbers.astype(">u8").tobytes().hex()
    return [digits[i : i + 16] for i in range(0, len(digits), 16)]


def id_column(numbers: NDArray[np.uint64]) -> Any:
    """Return the row_ids that numbers stand for, as an Arrow array of strings."""
    digits = np.frombuffer(numbers.astype(">u8").tobytes().hex().encode(), dtype=np.uint8)
    starts = np.arange(0, len(digits) + 16, 16, dtype=np.int64)
    return pyarrow.LargeStringArray.from_buffers(len(numbers), pyarrow.py_buffer(starts), pyarrow.py_buffer(digits))


def _digest_list(ids: NDArray[np.uint64]) -> str:
    """The digest that `digest_json` gives the list of the ids, in pieces."""
    digest = hashlib.sha256(b"[")
    for start in range(0, len(ids), CELL_ROWS):
        listed = ",".join(f'"{row_id}"' for row_id in as_row_ids(ids[start : start + CELL_ROWS]))
        digest.update(f"{',' if start else ''}{listed}".encode())
    digest.update(b"]")
    return digest.hexdigest()


def _rows(batch: Any) -> list[Row]:
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    travelling = [(name.removeprefix(EXTRA), columns[name]) for name in columns if name.startswith(EXTRA)]
    own = (columns[name] for name in ("row_index", "row_id", "instruction", "output", "source"))
    rows = []
    for number, (index, row_id, instruction, output, source) in enumerate(zip(*own, strict=True)):
        extra = {name: _text(values[number]) for name, values in travelling if values[number] is not None}
        rows.append(Row(index, as_row_id(row_id), _text(instruction), _text(output), _text(source), extra))
    return rows


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")


def _readable(stored: bytes | None) -> str | None:
    return None if stored is None else _text(stored).encode("utf-8", "replace").decode()
