"""Generations: what a model writes to a prompt, batched, resumable, with the reason it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.artifact import digest_text
from curate.errors import UsageError, UserError

END_TOKEN = "end_token"
MAX_NEW_TOKENS = "max_new_tokens"
STOP_REASONS = (END_TOKEN, MAX_NEW_TOKENS)
GENERATIONS = "generations.jsonl"


@dataclass(frozen=True, slots=True)
class Generation:
    """One completion of one prompt. `completion` never contains the prompt or the end token.

    `new_tokens` counts the ids the model produced, the end token included; `stop_reason` is `end_token`,
    `max_new_tokens`, or None where it is not known (somebody else's file). `seed` is None for greedy decoding.
    """

    prompt_id: str
    prompt: str
    completion: str
    new_tokens: int | None = None
    stop_reason: str | None = None
    sample: int = 0
    seed: int | None = None
    language: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """One completion to make: the prompt's text for people, its ids for the model (special tokens included)."""

    prompt_id: str
    prompt: str
    prompt_ids: Sequence[int]
    sample: int = 0
    seed: int | None = None
    language: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class DecodingSettings:
    """How to decode. `max_new_tokens` is counted apart from the prompt; `batch_size` None fits the device.

    `batch_size` never changes a greedy text in exact arithmetic, so it is left out of `digest`.
    """

    max_new_tokens: int = 256
    min_new_tokens: int = 0
    batch_size: int | None = None
    do_sample: bool = False
    temperature: float = 0.8
    top_p: float = 0.95
    seed: int = 0
    samples: int = 1

    def check(self) -> None:
        """Raise a `UsageError` for a value that can never work."""
        for name, value, good, allowed in (
            ("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1, "at least 1"),
            ("min_new_tokens", self.min_new_tokens, 0 <= self.min_new_tokens <= self.max_new_tokens, "0 to max"),
            ("batch_size", self.batch_size, self.batch_size is None or self.batch_size >= 1, "at least 1"),
            ("temperature", self.temperature, self.temperature > 0, "above 0 (greedy is do_sample false)"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, up to 1"),
            ("samples", self.samples, self.samples >= 1, "at least 1"),
            ("samples", self.samples, self.do_sample or self.samples == 1, "1 when decoding is greedy"),
        ):
            if not good:
                raise UsageError(f"{name} is {value}.", f"Allowed: {allowed}.")

    def as_record(self) -> dict[str, Any]:
        """What decides the text: everything but the batch size, and sampling values only when sampling."""
        record = asdict(self)
        del record["batch_size"]
        if not self.do_sample:
            for name in ("temperature", "top_p", "seed"):
                del record[name]
        return record


def sample_seed(seed: int, prompt_id: str, sample: int) -> int:
    """The seed of one sample of one prompt: a digest, so that it depends on no order and no batch."""
    return int(digest_text(f"{seed}\0{prompt_id}\0{sample}")[:8], 16)


def as_record(generation: Generation) -> dict[str, Any]:
    """One line of `generations.jsonl`."""
    return asdict(generation)


def read_generation(row: Mapping[str, Any], where: str) -> Generation:
    """A `Generation` from one line of our own `generations.jsonl`."""
    try:
        return Generation(**row)
    except TypeError as error:
        raise UserError(
            f"{where}: not a generation of ours ({error}).", "Use `evalsuite score` for other files."
        ) from None
