"""A small tokenizer of every kind, built here, so that the text law is held for kinds and not for names."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "Write a function that sorts a list.\ndef sort(xs):\n    return sorted(xs)\n",
    "  Sort it.\n\n        return x\n\n    x = 1\n\ty = 2\n",
    "def f(x):\n    return x\n  \n   def  g ( y ) :\n",
    "Grüße, Приве́т, 日本語, </s> <s> <unk> <|im_end|> ﬁne e\u0301",
] * 3
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<|im_end|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
BLANK = "\u2581"


def _trained(model: Any, trainer: Any, **stages: Any) -> Tokenizer:
    core = Tokenizer(model)
    for name, stage in stages.items():
        setattr(core, name, stage)
    core.train_from_iterator(CORPUS, trainer)
    return core


def _with_bytes(core: Tokenizer) -> Tokenizer:
    spec = json.loads(core.to_str())
    vocab = spec["model"]["vocab"]
    if isinstance(vocab, dict):
        vocab |= {byte: len(vocab) + place for place, byte in enumerate(BYTES)}
    else:
        vocab += [[byte, -20.0] for byte in BYTES]
    spec["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(spec))


def _sentencepiece_decoder(strip: int) -> Any:
    steps = [decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", strip, 0)] if strip else steps)


def _bpe_trainer(vocab_size: int = 400) -> Any:
    return trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False)


def legacy_sentencepiece() -> Tokenizer:
    """Llama 2 as transformers wrote it for years: a normaliser puts the blank before the text."""
    normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)])
    core = _trained(models.BPE(unk_token="<unk>", fuse_unk=True), _bpe_trainer(), normalizer=normalizer)
    core.decoder = _sentencepiece_decoder(1)
    return _with_bytes(core)


def metaspace(scheme: str, byte_fallback: bool = True, split: bool = False) -> Callable[[], Tokenizer]:
    """Llama 2 and Mistral as transformers writes them today (`first`), older ones (`always`), Gemma (`never`)."""

    def build() -> Tokenizer:
        core = _trained(
            models.BPE(unk_token="<unk>", fuse_unk=True),
            _bpe_trainer(),
            pre_tokenizer=pre_tokenizers.Metaspace(BLANK, scheme, split),
        )
        core.decoder = _sentencepiece_decoder(int(scheme != "never"))
        return _with_bytes(core) if byte_fallback else core

    return build


def byte_level(prefix: bool = False, normalizer: Any = None, split: str | None = None) -> Callable[[], Tokenizer]:
    """GPT-2 and smollm2; with a prefix; with NFC as Qwen; with a splitting pattern as Llama 3."""

    def build() -> Tokenizer:
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=SPECIAL, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        pre: Any = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=split is None)
        if split is not None:
            pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), pre])
        stages = {"pre_tokenizer": pre, "decoder": decoders.ByteLevel()}
        return _trained(models.BPE(), trainer, **stages, **({"normalizer": normalizer} if normalizer else {}))

    return build


def word_piece() -> Tokenizer:
    """BERT: lower case, white space lost."""
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    return _trained(
        models.WordPiece(unk_token="<unk>"), trainer, normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(), decoder=decoders.WordPiece(),
    )  # fmt: skip


def unigram(normalizer: Any = None, byte_fallback: bool = True) -> Callable[[], Tokenizer]:
    """T5, XLM-R, ALBERT: pieces with scores; a control token's spelling is a piece like any other."""

    def build() -> Tokenizer:
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
        stages = {"pre_tokenizer": pre_tokenizers.Metaspace(BLANK, "always", False)}
        core = _trained(models.Unigram(), trainer, **stages, **({"normalizer": normalizer} if normalizer else {}))
        core.decoder = _sentencepiece_decoder(1)
        return _with_bytes(core) if byte_fallback else core

    return build


_LLAMA3 = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_NMT = normalizers.Sequence(
    [normalizers.NFKC(), normalizers.Replace(Regex(r"\s"), " "), normalizers.Replace(Regex(" {2,}"), " ")]
)
EXACT: dict[str, Callable[[], Tokenizer]] = {
    "SentencePiece BPE, blank by the normaliser": legacy_sentencepiece,
    "SentencePiece BPE, blank at the first text": metaspace("first"),
    "SentencePiece BPE, blank at every text": metaspace("always"),
    "SentencePiece BPE, split at blanks": metaspace("always", split=True),
    "SentencePiece BPE, no blank": metaspace("never"),
    "byte-level BPE": byte_level(),
    "byte-level BPE, pattern of Llama 3": byte_level(split=_LLAMA3),
    "Unigram with bytes": unigram(),
}
LOSSY: dict[str, Callable[[], Tokenizer]] = {
    "byte-level BPE with a blank before a text": byte_level(prefix=True),
    "byte-level BPE with NFC": byte_level(normalizer=normalizers.NFC()),
    "SentencePiece BPE without bytes": metaspace("first", byte_fallback=False),
    "WordPiece": word_piece,
    "Unigram with NFKC": unigram(normalizers.NFKC()),
    "Unigram without bytes": unigram(byte_fallback=False),
    "Unigram that folds white space": unigram(_NMT),
}
# Which tokens it declares, and whether it puts the start token before a text.
STYLES: dict[str, tuple[dict[str, str], bool]] = {
    "start, unknown and pad token": (
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}, True,
    ),
    "start token not added": ({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, False),
    "end token alone": ({"eos_token": "</s>"}, False),
}  # fmt: skip


def wrap(core: Tokenizer, style: str = "start, unknown and pad token") -> Any:
    """A tokenizer of transformers around `core`."""
    declared, adds_start = STYLES[style]
    if adds_start:
        core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))])
    return PreTrainedTokenizerFast(tokenizer_object=core, **declared)
