"""Encoders: what of a row is embedded, which encoder auto means, and that a vector is always a direction."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.errors import UserError
from curate.pool.rows import build_row
from curate.vectors import encoder_models, encoders
from curate.vectors.embedding import embed_rows, text_to_embed, unit_rows
from curate.vectors.encoder_models import static
from curate.vectors.encoders import AUTO_MINILM_ROWS, encoder_identity, load_encoder, resolve_encoder

TEXTS = [f"{verb} the {noun} in {place}" for verb in ("sort", "parse", "send") for noun in ("list", "file", "mail")
         for place in ("python", "a shell", "the cloud")]  # fmt: skip


def test_auto_takes_minilm_for_small_pools_static_for_large_ones_and_what_was_named_otherwise() -> None:
    assert resolve_encoder("auto", AUTO_MINILM_ROWS) == "minilm"
    assert resolve_encoder("auto", AUTO_MINILM_ROWS + 1) == "static"
    assert resolve_encoder("tfidf", 10**9) == "tfidf"


def test_what_is_embedded_is_the_instruction_the_output_or_both() -> None:
    row = build_row(0, "ask \ud800", "answer", "t")
    assert [text_to_embed(row, embed) for embed in ("instruction", "output", "both")] == [
        "ask ?", "answer", "ask ?\nanswer",
    ]  # fmt: skip


def test_tfidf_gives_unit_rows_that_are_nearer_for_texts_that_share_words() -> None:
    vectors = unit_rows(load_encoder("tfidf", 32).encode(TEXTS, lambda n: None))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[-1]


@pytest.mark.parametrize("texts", [["one"], ["same", "same"], ["", " \n", "\t"]])
def test_a_pool_too_small_for_tfidf_or_without_a_word_is_told(texts: list[str]) -> None:
    with pytest.raises(UserError, match="too small or too uniform"):
        load_encoder("tfidf", 32).encode(texts, lambda n: None)


def test_a_sentence_transformers_model_of_word_vectors_is_an_encoder_too(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "sort": 1, "list": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    table = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)]).save(str(tmp_path / "words"))
    vectors = load_encoder(str(tmp_path / "words"), 2).encode(["mail", "sort list", "sort"], lambda n: None)
    assert vectors.tolist() == [[0, 0, 1], [0.5, 0.5, 0], [1, 0, 0]]  # in the order given, not that of the batches


def test_tfidf_takes_texts_that_are_all_the_same_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    vectors = load_encoder("tfidf", 2).encode(["sort a list"] * 4, lambda n: None)
    assert np.abs(vectors - vectors[0]).max() < 1e-6
    assert [each for each in recwarn if each.category is RuntimeWarning] == []


class TwoWords:
    """Stands in for the static model: counts two words, so most texts have no known token."""

    def encode(self, texts: Sequence[str], use_multiprocessing: bool) -> Any:
        assert not use_multiprocessing
        return np.array([[text.count("list"), text.count("mail")] for text in texts], dtype=np.float32)


def test_static_vectors_do_not_depend_on_the_rows_beside_them_and_always_have_a_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoders, "load_static", lambda identity: TwoWords())
    monkeypatch.setattr(static, "CHUNK_ROWS", 4)
    encoder = load_encoder("static", 32)
    done: list[int] = []
    together = encoder.encode(TEXTS, done.append)
    assert sum(done) == len(TEXTS)
    assert (np.linalg.norm(together, axis=1) > 0).all()
    assert together[3].tolist() == [1.0, 0.0]
    for number, text in enumerate(TEXTS):
        assert encoder.encode([text], lambda n: None)[0].tolist() == together[number].tolist()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_cached_static_encoder_that_was_cut_short_is_distilled_again_and_said(
    name: str, own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []

    def distil(source: str, dimensions: int, folder: Path) -> None:
        from model2vec import StaticModel
        from tokenizers import Tokenizer, models, pre_tokenizers

        tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "list": 1, "mail": 2}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        StaticModel(np.eye(3, dtype=np.float32), tokenizer).save_pretrained(str(folder))
        made.append(1)

    monkeypatch.setattr(encoder_models, "distil", distil)
    first = encoders.load_static("identity").encode(["list mail"], use_multiprocessing=False)
    assert encoders.load_static("identity").encode(["list mail"], use_multiprocessing=False).tolist() == first.tolist()
    assert made == [1]
    (file,) = (own_home / "cache" / "encoders").rglob(name)
    file.write_bytes(file.read_bytes()[:20])
    again = encoders.load_static("identity").encode(["list mail"], use_multiprocessing=False)
    assert again.tolist() == first.tolist()
    assert made == [1, 1]
    assert "was damaged" in capsys.readouterr().err


def test_encoders_have_different_identities_and_cached_vectors_are_kept_apart_by_what_is_embedded(
    own_home: Any,
) -> None:
    assert len({encoder_identity(name) for name in ("minilm", "static", "tfidf", "some/model")}) == 4
    rows = sorted((build_row(i, text, f"{text}!" * 2, "t") for i, text in enumerate(TEXTS)), key=lambda row: row.row_id)
    for embed in ("instruction", "output", "both", "both"):
        embed_rows(rows, "tfidf", embed)
    assert len(list((own_home / "cache" / "embeddings").glob("*.npy"))) == 3


def test_a_model_in_a_folder_is_loaded_when_it_first_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_models, "load_sentence_transformer", lambda source: pytest.fail("it was loaded"))
    assert load_encoder("minilm", 32).digest == load_encoder("minilm", 32).digest != load_encoder("minilm", 16).digest
    with pytest.raises(pytest.fail.Exception, match="it was loaded"):
        load_encoder("minilm", 32).encode(["sort a list"], lambda n: None)


def test_a_selection_loads_no_encoder_before_something_is_to_be_embedded() -> None:
    heavy = {"sentence_transformers", "model2vec", "peft", "bitsandbytes", "accelerate"}
    code = f"import sys, curate.pipeline; print(sorted(set(sys.modules) & {heavy!r}))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.split() == ["[]"]
