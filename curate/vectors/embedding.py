"""Rows as unit vectors, computed once per pool and encoder and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curate.artifact import digest_json
from curate.artifact.array_cache import cached_array, stored_array
from curate.console import progress
from curate.defaults import DEFAULT_BATCH_SIZE, DEFAULT_EMBED, MINILM
from curate.errors import UserError
from curate.pool.rows import Row
from curate.tokens.codecs import without_surrogates
from curate.vectors.encoders import load_encoder


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
