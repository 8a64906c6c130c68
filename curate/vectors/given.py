"""Vectors that the user made: `--vectors FILE`, in the place of an encoder's."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.artifact import digest_file
from curate.artifact.manifest_schema import FileRecord
from curate.errors import UserError
from curate.pool.rows import Row
from curate.vectors.embedding import unit_rows

_HOW = (
    "Wanted: numpy.save of one vector for every row of the pool, in its order (rows x dimensions), or "
    "numpy.savez(FILE, ids=ids, vectors=vectors), where ids are the rows' own (column id) or their row_id."
)


@dataclass(frozen=True)
class GivenVectors:
    """A file's vectors (n x d): of the rows with these `ids`, or, without ids, of all rows of the pool in order."""

    path: Path
    vectors: NDArray[np.float32]
    ids: tuple[str, ...] | None
    sha256: str

    @property
    def record(self) -> FileRecord:
        """For the manifest."""
        return FileRecord(file=self.path.name, sha256=self.sha256, rows=len(self.vectors))

    def of(self, rows: Iterable[Row]) -> NDArray[np.float32]:
        """Return the unit vectors of some rows, in their order."""
        chosen = list(rows)
        places = [row.row_index for row in chosen] if self.ids is None else self._places(chosen, self.ids)
        vectors = self.vectors[places]
        lengths = np.linalg.norm(vectors, axis=1)
        bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if bad.size:
            raise UserError(
                f"{self.path} has {bad.size} vectors that are zero, infinite or not numbers "
                f"(the first: vector {min(places[i] for i in bad)}, counted from 0).",
                "Correct those vectors.",
            )
        return unit_rows(vectors)

    def _places(self, rows: Sequence[Row], ids: Sequence[str]) -> list[int]:
        """Where the vectors of some rows stand, by the rows' own id, else by their row_id."""
        place = {name: i for i, name in enumerate(ids)}
        taken: dict[str, str] = {}
        places: list[int] = []
        missing: list[str] = []
        for row in rows:
            name = row.extra.get("id", row.row_id)
            name = name if name in place else row.row_id
            if name not in place:
                missing.append(row.extra.get("id", row.row_id))
            elif taken.setdefault(name, row.row_id) != row.row_id:
                raise UserError(
                    f'Several rows have the id "{name}", and {self.path} has one vector for it.',
                    "Name the rows by their row_id, or give one vector for every row in a .npy file.",
                )
            else:
                places.append(place[name])
        if missing:
            raise UserError(f"{self.path} has no vector for {len(missing)} rows (the first: {missing[0]}).", _HOW)
        return places


def load_given(path: str | Path, n_rows: int) -> GivenVectors:
    """Return the `n_rows` vectors in a `.npy` file, or vectors and ids in a `.npz` file; nothing in it is executed."""
    source = Path(path)
    try:
        loaded = np.load(source, allow_pickle=False)
    except OSError as error:
        raise UserError(f"Could not read {source}: {error.strerror or error}.", _HOW) from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{source} is no file of numpy's with numbers in it ({error}).", _HOW) from None
    ids: tuple[str, ...] | None = None
    if not isinstance(loaded, np.ndarray):
        with loaded as archive:
            names = ", ".join(archive.files) or "nothing"
            try:
                ids, vectors = tuple(map(str, archive["ids"].tolist())), archive["vectors"]
            except KeyError:
                raise UserError(f"{source} holds {names}, not ids and vectors.", _HOW) from None
            except ValueError:  # such as the ids that pandas has
                step = "Write them as text and numbers: numpy.savez(FILE, ids=numpy.array(ids, dtype=str), ...)"
                raise UserError(f"{source} holds Python objects, which are not loaded.", step) from None
    else:
        vectors = loaded
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or 0 in vectors.shape:
        raise UserError(f"{source} holds an array of shape {vectors.shape} and type {vectors.dtype}.", _HOW)
    if ids is None and len(vectors) != n_rows:
        what = f"{source} holds {len(vectors)} vectors (shape {vectors.shape}), and the pool has {n_rows} rows."
        raise UserError(what, _HOW)
    if ids is not None and (len(ids) != len(vectors) or len(set(ids)) < len(ids)):
        what = f"{len(ids)} ids ({len(set(ids))} different) and {len(vectors)} vectors"
        raise UserError(f"{source} holds {what}.", _HOW)
    return GivenVectors(source, np.asarray(vectors, dtype=np.float32), ids, digest_file(source))
