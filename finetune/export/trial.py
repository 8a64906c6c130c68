"""`finetune try`: prompts typed at a finished run, answered token by token, the base model beside it where asked."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from curate.errors import UserError
from curate.tokens.prompt import PromptTemplate
from curate.tokens.tokenizers import decode_completion, encode_prompt
from finetune.memory.shapes import context_length
from finetune.model import AdaptedModel, adapter_off, load_run
from finetune.run.record import Run

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PIECE = "\ufffd"  # of a character whose other bytes are still to come


@dataclass(frozen=True)
class Answer:
    """What a model wrote to a prompt, in how many tokens, and whether it ended by itself."""

    text: str
    tokens: int
    ended: bool

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Trial:
    """A run ready to be talked to: raw prompts in the template it was trained with, greedy answers, each alone."""

    def __init__(self, run: Run, max_new_tokens: int | None = None) -> None:
        self.model, self.tokenizer = load_run(run.path)
        self.template: PromptTemplate = run.read_selection().template
        self.max_new_tokens = max_new_tokens or run.config.report_max_new_tokens
        self.ends = end_ids(self.model, self.tokenizer)
        # `generate` would fill in what is not set from the model's own, a penalty for instance.
        self.model.get_base_model().generation_config = GenerationConfig()

    def answer(self, prompt: str, base: bool = False, show: Callable[[str], None] = lambda text: None) -> Answer:
        """Return the answer to one prompt, of the base model where `base`; `show` gets every new piece of its text."""
        ids = encode_prompt(self.tokenizer, self.template, prompt)
        room = context_length(self.model.config)
        if room is not None and len(ids) + self.max_new_tokens > room:
            raise UserError(
                f"The prompt has {len(ids)} tokens; with {self.max_new_tokens} new ones that is more than the model's "
                f"context of {room}.",
                "Shorten it, or lower --max-new-tokens.",
            )
        ends = self.ends
        streamer = _Streamer(self.tokenizer, ids, ends, show)
        config = GenerationConfig(
            max_new_tokens=self.max_new_tokens, do_sample=False, eos_token_id=ends, pad_token_id=ends[0]
        )
        inputs = torch.tensor([ids], device=self.model.device)
        with torch.inference_mode(), adapter_off(self.model) if base else nullcontext():
            self.model.generate(
                input_ids=inputs, attention_mask=torch.ones_like(inputs), generation_config=config, streamer=streamer
            )
        return Answer(streamer.text, len(streamer.new_ids) + streamer.ended, streamer.ended)


class _Streamer(BaseStreamer):  # type: ignore[misc]
    """Hands on the text of new ids as soon as it is sure: a character in several tokens waits for its last byte."""

    def __init__(self, tokenizer: Any, prompt_ids: list[int], ends: list[int], show: Callable[[str], None]) -> None:
        self.tokenizer, self.prompt_ids, self.ends, self.show = tokenizer, prompt_ids, ends, show
        self.new_ids: list[int] = []
        self.text = ""
        self.ended = False
        self._started = False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, which comes first, then one new id a call."""
        if not self._started:
            self._started = True
            return
        new = int(value.reshape(-1)[0])
        if new in self.ends:
            self.ended = True
            return
        self.new_ids.append(new)
        self._hand_on(decode_completion(self.tokenizer, self.prompt_ids, self.new_ids), whole=False)

    def end(self) -> None:
        """Hand on what waited."""
        self._hand_on(decode_completion(self.tokenizer, self.prompt_ids, self.new_ids), whole=True)

    def _hand_on(self, text: str, whole: bool) -> None:
        sure = text if whole else text.rstrip(_PIECE)
        if sure.startswith(self.text) and len(sure) > len(self.text):
            self.show(sure[len(self.text) :])
            self.text = sure


def end_ids(model: AdaptedModel, tokenizer: Any) -> list[int]:
    """Return the ids that end an answer: the end token that training appends, then the model's own."""
    own = getattr(model.generation_config, "eos_token_id", None)
    listed = own if isinstance(own, list) else [] if own is None else [own]
    return list(dict.fromkeys([int(tokenizer.eos_token_id), *map(int, listed)]))


def write_piece(text: str) -> None:
    """Write a piece of a model's text to stdout at once, without escape sequences where that is a terminal."""
    sys.stdout.write(_CONTROL.sub(_PIECE, text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def read_prompts() -> Iterator[str]:
    """Yield prompts from stdin: a line each where somebody types, else everything as one prompt."""
    if not sys.stdin.isatty():
        text = sys.stdin.read().removesuffix("\n")
        if not text.strip():
            raise UserError("There is no prompt.", 'Give --prompt "...", or pipe one in.')
        yield text
        return
    while True:
        sys.stderr.write("> ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stderr.write("\n")
            return
        if line.strip():
            yield line.removesuffix("\n")
