"""The models behind the encoders. Each is loaded when it is first used: where vectors are cached, none of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.lazy import load_when_used

if TYPE_CHECKING:
    from curate.vectors.encoder_models.distilling import distil
    from curate.vectors.encoder_models.sentences import encode_sentences, load_sentence_transformer
    from curate.vectors.encoder_models.static import encode_static, read_static
    from curate.vectors.encoder_models.tfidf import encode_tfidf

__all__ = [
    "distil",
    "encode_sentences",
    "encode_static",
    "encode_tfidf",
    "load_sentence_transformer",
    "read_static",
]

_SENTENCES, _STATIC = f"{__name__}.sentences", f"{__name__}.static"

__getattr__ = load_when_used(
    __name__,
    {
        "distil": f"{__name__}.distilling",
        "encode_sentences": _SENTENCES,
        "encode_static": _STATIC,
        "encode_tfidf": f"{__name__}.tfidf",
        "load_sentence_transformer": _SENTENCES,
        "read_static": _STATIC,
    },
)
