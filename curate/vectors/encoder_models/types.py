"""What the encoders have in common: how they are called, and how much of a text they see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 1024  # rows sorted by length together, so that a batch holds little padding
MAX_CHARS = 16_000  # far beyond any sentence encoder's window; spares the tokenizer a 5 MB row
TFIDF_DIMENSIONS = 256

Encode = Callable[[Sequence[str], Callable[[int], None]], NDArray[np.float32]]  # texts, progress -> (n x d)
