"""Distilling a sentence-transformers model to one vector a token (model2vec: Tulkens and van Dongen, 2024)."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from model2vec.distill import distill


def distil(source: str, dimensions: int, folder: Path) -> None:
    """Write the static model of a sentence-transformers model, its vectors cut to `dimensions`, to a folder."""
    with contextlib.redirect_stderr(io.StringIO()):
        distill(source, pca_dims=dimensions).save_pretrained(str(folder))
