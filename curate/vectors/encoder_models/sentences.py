"""A sentence-transformers model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from curate.engines.cores import cores
from curate.loading import loading
from curate.vectors.encoder_models.types import CHUNK_ROWS, MAX_CHARS


def load_sentence_transformer(source: str) -> Any:
    """Return the model in a folder or on the hub."""
    with loading(source, "encoder"):
        return SentenceTransformer(source, trust_remote_code=False).eval()


def encode_sentences(
    model: Any, texts: Sequence[str], batch_size: int, advance: Callable[[int], None]
) -> NDArray[np.float32]:
    """Fixed batches: chunks in the given order, each sorted by length. On a CPU every batch is computed by one thread.

    The value of a vector depends, in its last bits, on the batch it is computed in and on how many threads share
    one product; fixing both makes it the same on any number of cores.
    """
    batches: list[list[int]] = []
    for start in range(0, len(texts), CHUNK_ROWS):
        chunk = sorted(range(start, min(start + CHUNK_ROWS, len(texts))), key=lambda i: (-len(texts[i]), i))
        batches += [chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size)]
    on_gpu = model.device.type != "cpu"

    def compute(features: dict[str, Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            on_device = {key: value.to(model.device) for key, value in features.items() if hasattr(value, "to")}
            return np.asarray(model(on_device)["sentence_embedding"].float().cpu().numpy())

    workers = 1 if on_gpu else cores()
    threads_before = torch.get_num_threads()
    start_worker = None if on_gpu else (lambda: torch.set_num_threads(1))
    try:
        with ThreadPoolExecutor(workers, initializer=start_worker) as pool:
            # Tokenised here, one batch after the other: a fast tokenizer must not be used by two threads at once.
            jobs = [pool.submit(compute, model.preprocess([texts[i][:MAX_CHARS] for i in rows])) for rows in batches]
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
