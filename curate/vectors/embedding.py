"""Rows as unit vectors, computed once per pool and encoder and kept on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curate.artifact import digest_json
from curate.artifact.array_cache import cached_array, stored_array, streamed_array
from curate.console import progress
from curate.defaults import DEFAULT_BATCH_SIZE, DEFAULT_EMBED, MINILM
from curate.engines.local import LocalEngine
from curate.engines.types import Engine, cut, local_path
from curate.errors import UserError
from curate.pool.rows import Row
from curate.pool.table import PoolTable, as_row_ids
from curate.tokens.codecs import without_surrogates
from curate.vectors.encoders import Encoder, load_encoder


def text_to_embed(row: Row, embed: str) -> str:
    """What of a row the encoder sees."""
    text = {"instruction": row.instruction, "output": row.output, "both": f"{row.instruction}\n{row.output}"}[embed]
    return without_surrogates(text)


def embed_rows(
    rows: Sequence[Row],
    encoder: str = MINILM,
    embed: str = DEFAULT_EMBED,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> tuple[NDArray[np.float32], str]:
    """Unit vectors, (n x d) float32, for `rows`, which must be in row_id order; and the encoder's digest.

    Cached in `cache/embeddings` under the digest of encoder, batch size, what is embedded and the row ids. A cache
    file that was cut short is computed again, and said.
    """
    loaded = load_encoder(encoder, batch_size)

    def compute() -> NDArray[np.float32]:
        with progress("Embedding", len(rows)) as advance:
            return unit_rows(loaded.encode([text_to_embed(row, embed) for row in rows], advance))

    def fits(vectors: NDArray[np.float32]) -> bool:
        return vectors.dtype == "float32" and vectors.ndim == 2 and len(vectors) == len(rows)

    key = _cache_key(loaded.digest, embed, [row.row_id for row in rows])
    return cached_array("embeddings", key, "vectors", fits, compute), loaded.digest


@lru_cache(maxsize=2)
def _encoder(name: str, batch_size: int) -> Encoder:
    """Kept by a worker from block to block."""
    return load_encoder(name, batch_size)


@dataclass(frozen=True)
class EmbedStep:
    """Returns the unit vectors of the rows at the places of a block (n x d float32)."""

    table: PoolTable
    encoder: str
    embed: str
    batch_size: int
    advice = "Lower --batch-size, or start Ray with fewer --num-cpus on that node."  # where memory runs out

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        texts = [text_to_embed(row, self.embed) for row in self.table.read(places)]
        return unit_rows(_encoder(self.encoder, self.batch_size).encode(texts, lambda n: None))


def embed_pool(
    engine: Engine, table: PoolTable, places: NDArray[np.int64], encoder: str, embed: str, batch_size: int
) -> tuple[NDArray[np.float32], str]:
    """Return what `embed_rows` returns for the rows at ascending places, computed cell by cell and mapped from a file.

    An encoder that must see all texts at once is given them here, whatever the engine.
    """
    loaded = _encoder(encoder, batch_size)
    row_ids = as_row_ids(table.ids[places])
    key = _cache_key(loaded.digest, embed, row_ids)

    def compute() -> Iterator[NDArray[np.float32]]:
        with progress("Embedding", len(places)) as advance:
            if not loaded.by_cell:
                yield unit_rows(loaded.encode([text_to_embed(row, embed) for row in table.read(places)], advance))
                return
            if engine.name == LocalEngine.name and loaded.threaded:  # its own threads take the cores, row after row
                for block in cut(places, LocalEngine(workers=1).block_cells):
                    texts = [text_to_embed(row, embed) for row in table.read(block)]
                    yield unit_rows(loaded.encode(texts, advance))
                return
            if Path(encoder).exists():
                engine.require_path(local_path(encoder))
            engine.rest()  # workers that start now share the encoder that is loaded here
            step = EmbedStep(table, local_path(encoder), embed, batch_size)
            for vectors in engine.map(step, cut(places, engine.block_cells)):
                advance(len(vectors))
                yield vectors

    return streamed_array("embeddings", key, "vectors", len(places), compute), loaded.digest


def cached_vectors(encoder_digest: str, embed: str, row_ids: Sequence[str]) -> NDArray[np.float32] | None:
    """What `embed_rows` kept for rows with these ids, in this order, by that encoder; None where nothing was kept."""
    found = stored_array("embeddings", _cache_key(encoder_digest, embed, row_ids))
    return found if found is not None and len(found) == len(row_ids) else None


def _cache_key(encoder_digest: str, embed: str, row_ids: Sequence[str]) -> str:
    return digest_json([encoder_digest, embed, list(row_ids)])[:32]


def unit_rows(
    vectors: NDArray[np.float32], giver: str = "The encoder gave", step: str = "Use another --encoder."
) -> NDArray[np.float32]:
    """`vectors` scaled to length one; NaN, infinite and zero rows are an error, because they have no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if bad.size:
        raise UserError(
            f"{giver} {bad.size} vectors that are zero, infinite or not numbers (first at row {bad[0]}).",
            step,
        )
    return np.asarray(vectors / lengths, dtype=np.float32)
