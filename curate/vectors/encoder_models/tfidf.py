"""Latent semantic analysis of the pool itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from curate.errors import UserError
from curate.vectors.encoder_models.types import MAX_CHARS, TFIDF_DIMENSIONS


def encode_tfidf(texts: Sequence[str], advance: Callable[[int], None]) -> NDArray[np.float32]:
    """Latent semantic analysis of word and word-pair counts, fitted on the pool itself (Deerwester et al., 1990)."""
    too_little = UserError("The pool is too small or too uniform for --encoder tfidf.", "Use --encoder minilm.")
    shown = [text[:MAX_CHARS] for text in texts]
    if not any(text.strip() for text in shown):
        raise too_little
    counts = TfidfVectorizer(
        sublinear_tf=True, ngram_range=(1, 2), max_features=200_000, token_pattern=r"\w+|[^\w\s]", dtype=np.float32
    ).fit_transform(shown)
    dimensions = min(TFIDF_DIMENSIONS, min(counts.shape) - 1)
    if dimensions < 1:
        raise too_little
    with threadpool_limits(1), np.errstate(divide="ignore", invalid="ignore"):  # equal texts have no variance
        vectors = TruncatedSVD(dimensions, random_state=0).fit_transform(counts)
    advance(len(texts))
    vectors[np.linalg.norm(vectors, axis=1) == 0, 0] = 1.0
    return np.asarray(vectors, dtype=np.float32)
