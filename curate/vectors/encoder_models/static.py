"""A model of one vector a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from model2vec import StaticModel
from numpy.typing import NDArray

from curate.vectors.encoder_models.types import CHUNK_ROWS, MAX_CHARS


def read_static(folder: Path) -> Any:
    """Return the static model in a folder."""
    return StaticModel.from_pretrained(str(folder))


def encode_static(model: Any, texts: Sequence[str], advance: Callable[[int], None]) -> NDArray[np.float32]:
    """One mean of token vectors a text: no batch and no thread changes it. A text without any known token points along
    the first axis, so that it has a direction."""
    parts = []
    for start in range(0, len(texts), CHUNK_ROWS):
        batch = [text[:MAX_CHARS] for text in texts[start : start + CHUNK_ROWS]]
        parts.append(np.asarray(model.encode(batch, use_multiprocessing=False), dtype=np.float32))
        advance(len(batch))
    vectors = np.concatenate(parts)
    vectors[np.linalg.norm(vectors, axis=1) == 0, 0] = 1.0
    return vectors
