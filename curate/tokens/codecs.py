"""A tokenizer as two encoders: of a text's beginning, and of the rest of a text. Control spellings are text to both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from tokenizers import Tokenizer


class Codec(Protocol):
    """What `TextRule` needs of a tokenizer. Nothing here adds a special token or reads one out of a text."""

    @property
    def has_prefix(self) -> bool:
        """Whether a text's beginning is encoded in another way than its rest."""

    def begin(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, with what the tokenizer puts before a text."""

    def resume(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, with nothing before it."""

    def begin_lengths(self, texts: Sequence[str]) -> list[int]:
        """Lengths of `begin`."""

    def resume_lengths(self, texts: Sequence[str]) -> list[int]:
        """Lengths of `resume`."""

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without clean-up."""

    def decode_rest(self, ids: list[int]) -> str:
        """The text of ids that continue others, by themselves."""


class FastCodec:
    """Copies of a fast tokenizer's core: one as it is, one that puts nothing before a text and strips nothing.

    Copies, because asking the original for another way of encoding would change it for everybody, in all threads.
    """

    def __init__(self, backend: Tokenizer) -> None:
        description = backend.to_str()
        self._begin = _build(description)
        spec = json.loads(description)
        self.has_prefix = _drop_prefix(spec)
        self._rest = _build(json.dumps(spec, ensure_ascii=False)) if self.has_prefix else self._begin

    def begin(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in _encode(self._begin, texts)]

    def resume(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in _encode(self._rest, texts)]

    def begin_lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in _encode(self._begin, texts)]

    def resume_lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding) for encoding in _encode(self._rest, texts)]

    def decode(self, ids: list[int]) -> str:
        return self._begin.decode(ids, skip_special_tokens=False)

    def decode_rest(self, ids: list[int]) -> str:
        return self._rest.decode(ids, skip_special_tokens=False)


class PlainCodec:
    """Any other tokenizer, by its own calls; whether its ids hold the text law is for `TextRule` to probe."""

    has_prefix = False

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def begin(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._tokenizer(
            list(map(without_surrogates, texts)), add_special_tokens=False, split_special_tokens=True,
            return_attention_mask=False, verbose=False,
        )  # fmt: skip
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    resume = begin

    def begin_lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self.begin(texts)]

    resume_lengths = begin_lengths

    def decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    decode_rest = decode


def without_surrogates(text: str) -> str:
    """`text` with a question mark for every lone surrogate, which no tokenizer written in Rust can take."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _encode(core: Tokenizer, texts: Sequence[str]) -> list[Any]:
    encodings: list[Any] = core.encode_batch_fast(list(map(without_surrogates, texts)), add_special_tokens=False)
    return encodings


def _build(description: str) -> Tokenizer:
    core = Tokenizer.from_str(description)
    core.no_padding()
    core.no_truncation()
    core.encode_special_tokens = True
    return core


def _drop_prefix(spec: dict[str, Any]) -> bool:
    """Take out of a tokenizer's description what it puts before a text and strips when decoding; whether it did."""
    changed = False
    for stage in ("normalizer", "pre_tokenizer"):
        kept = []
        for step in _steps(spec[stage]):
            if step["type"] == "Prepend":
                changed = True
                continue
            if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never":
                step["prepend_scheme"], changed = "never", True
                step.pop("add_prefix_space", None)
            elif step["type"] == "ByteLevel" and step["add_prefix_space"]:
                step["add_prefix_space"], changed = False, True
            kept.append(step)
        spec[stage] = _sequence(stage, kept)
    for step in _steps(spec["decoder"]) if changed else []:
        if step["type"] == "Metaspace":
            step["prepend_scheme"] = "never"
            step.pop("add_prefix_space", None)
        elif step["type"] == "Strip":
            step["start"] = 0
    return changed


def _steps(stage: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a stage of a tokenizer, sequences laid out flat."""
    if stage is None:
        return []
    if stage["type"] != "Sequence":
        return [stage]
    inner = stage.get("normalizers") or stage.get("pretokenizers") or stage.get("decoders") or []
    return [step for each in inner for step in _steps(each)]


def _sequence(stage: str, steps: list[dict[str, Any]]) -> dict[str, Any] | None:
    if len(steps) < 2:
        return steps[0] if steps else None
    return {"type": "Sequence", "normalizers" if stage == "normalizer" else "pretokenizers": steps}
