"""Rows as unit vectors, computed once per pool and encoder and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from curate.encoders import DEFAULT_ENCODER, load_encoder
from curate.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from curate.rows import Row

DEFAULT_BATCH_SIZE = 32
DEFAULT_EMBED = "instruction"
EMBED_CHOICES = ("instruction", "output", "both")


def text_to_embed(row: Row, embed: str) -> str:
    """What of a row the encoder sees."""
    text = {"instruction": row.instruction, "output": row.output, "both": f"{row.instruction}\n{row.output}"}[embed]
    return text.encode("utf-8", "replace").decode("utf-8")


def embed_rows(
    rows: Sequence[Row],
    encoder: str = DEFAULT_ENCODER,
    embed: str = DEFAULT_EMBED,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> tuple[NDArray[np.float32], str]:
    """Unit vectors, (n x d) float32, for `rows`, which must be in row_id order; and the encoder's digest.

    Cached in `cache/embeddings` under the digest of encoder, batch size, what is embedded and the row ids. A cache
    file that was cut short is computed again, and said.
    """
    from curate.artifact import file_lock
    from curate.console import progress, say

    loaded = load_encoder(encoder, batch_size)
    path = _cache_path(loaded.digest, embed, [row.row_id for row in rows])
    with file_lock(path.with_suffix(".lock")):
        cached = _read_cache(path, len(rows))
        if cached is not None:
            return cached, loaded.digest
        if path.exists():
            say(f"The cached vectors {path} were damaged; computing them again.")
        with progress("Embedding", len(rows)) as advance:
            vectors = unit_rows(loaded.encode([text_to_embed(row, embed) for row in rows], advance))
        _write_cache(path, vectors)
    return vectors, loaded.digest


def cached_vectors(encoder_digest: str, embed: str, row_ids: Sequence[str]) -> NDArray[np.float32] | None:
    """What `embed_rows` kept for rows with these ids, in this order, by that encoder; None where nothing was kept."""
    return _read_cache(_cache_path(encoder_digest, embed, row_ids), len(row_ids))


def _cache_path(encoder_digest: str, embed: str, row_ids: Sequence[str]) -> Path:
    from curate.artifact import cache_dir, digest_json

    return cache_dir("embeddings") / f"{digest_json([encoder_digest, embed, list(row_ids)])[:32]}.npy"


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """`vectors` scaled to length one; NaN, infinite and zero rows are an error, because they have no direction."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if bad.size:
        raise UserError(
            f"The encoder gave {bad.size} vectors that are zero, infinite or not numbers (first at row {bad[0]}).",
            "Use another --encoder.",
        )
    return np.asarray(vectors / lengths, dtype=np.float32)


def _read_cache(path: Path, n_rows: int) -> NDArray[np.float32] | None:
    import numpy as np

    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != n_rows:
        return None
    return np.asarray(vectors)


def _write_cache(path: Path, vectors: NDArray[np.float32]) -> None:
    import numpy as np

    from curate.artifact import atomic_file

    with atomic_file(path) as file:
        np.save(file, vectors, allow_pickle=False)
