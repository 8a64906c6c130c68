"""Continuous batching over one key/value cache with a slot per running prompt."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from evaluate_suite.generation.plain_lora import PlainAdapter
from evaluate_suite.generation.record import DecodingSettings, GenerationTask
from evaluate_suite.generation.slot_cache import SlotCache, cache_cells

if importlib.util.find_spec("triton") is not None:
    from evaluate_suite.generation import slot_kernels

CPU_BATCH = 32
CUDA_BATCH = 192
REFILL_SHARE = 8  # new prompts enter once one slot in eight is free: a prefill is worth its own forward pass
PREFILL_TOKENS = 128  # a forward pass over fewer is bound by reading the weights, not by the tokens
PADDING_SHARE = 0.25
LENGTH_STEP = 64  # attended lengths are rounded up to this on CUDA, so that few graphs are captured


def why_not_slots(model: Any, length: int) -> str | None:
    """Why this model cannot be decoded in slots for sequences of `length` tokens, or None when it can."""
    config = model.config.get_text_config()
    attention = getattr(config, "_attn_implementation", "sdpa")
    if attention not in ("sdpa", "eager"):
        return f"its attention is {attention}, which takes no mask of ours"
    if getattr(model, "_is_stateful", False) or getattr(config, "is_encoder_decoder", False):
        return "it keeps a state that is no key/value cache"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if kinds - {"full_attention", "sliding_attention"}:
        return f"it has layers of kind {', '.join(sorted(kinds - {'full_attention', 'sliding_attention'}))}"
    if window is not None and getattr(config, "use_sliding_window", True) and window < length:
        return f"its attention window of {window} tokens is shorter than {length}"
    return None


@dataclass
class Slot:
    """A running prompt: which task, how many tokens are in the cache, and the ids produced so far."""

    task: int
    length: int
    next_id: int
    limit: int
    new_ids: list[int] = field(default_factory=list)


def decode_in_slots(
    model: Any,
    stop: Sequence[int],
    pad: int | None,
    tasks: Sequence[GenerationTask],
    settings: DecodingSettings,
) -> Iterator[tuple[int, list[int], bool]]:
    """Yield (task index, new ids without the end token, whether it ended itself) as each task finishes.

    Prompts enter shortest first. The last prompt token is fed by the first step, so that prefill needs no logits.
    """
    waiting = deque(sorted(range(len(tasks)), key=lambda i: (len(tasks[i].prompt_ids), i)))
    cells = cache_cells(model)
    decoder = _Decoder(model, list(stop), tasks, settings, cells)
    while waiting or decoder.active:
        # Never across a yield: whoever consumes the results may train.
        with torch.no_grad(), decoder.adapter:
            decoder.admit(waiting)
            finished = decoder.step()
        yield from finished


def prefill_groups(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Where to cut prompts of ascending `lengths` into forward passes of their own, as (first, last) ranges.

    A prompt joins the pass of its shorter neighbours unless padding them to its length would cost more than a quarter
    of what they hold; passes below `PREFILL_TOKENS` are not worth cutting. Prompts without tokens are in no range.
    """
    groups: list[tuple[int, int]] = []
    first, real = sum(length == 0 for length in lengths), 0
    for last in range(first, len(lengths)):
        padded = lengths[last] * (last - first + 1)
        if real >= PREFILL_TOKENS and padded > (1 + PADDING_SHARE) * (real + lengths[last]):
            groups.append((first, last))
            first, real = last, 0
        real += lengths[last]
    return [*groups, (first, len(lengths))] if first < len(lengths) else groups


class _Decoder:
    def __init__(
        self, model: Any, stop: list[int], tasks: Sequence[GenerationTask], settings: DecodingSettings, cells: int
    ) -> None:
        self.model, self.stop, self.tasks, self.settings, self.cells = model, set(stop), tasks, settings, cells
        self.device = model.device
        self.cuda = self.device.type == "cuda"
        self.batch = settings.batch_size or (CUDA_BATCH if self.cuda else CPU_BATCH)
        self.slots: list[Slot | None] = []
        self.cache = SlotCache(0, 0, kernels=_kernels(model))
        self.uniforms: dict[int, Any] = {}
        self.graphs: dict[int, _Graph] = {}
        self.graphs_work = self.cuda
        half = self.cuda and model.dtype.itemsize == 2
        self.adapter = PlainAdapter(model) if half else contextlib.nullcontext()

    @property
    def active(self) -> int:
        return sum(slot is not None for slot in self.slots)

    def admit(self, waiting: deque[int]) -> None:
        """Give free slots to waiting prompts once it pays; with none waiting, drop finished rows once it pays."""
        active, rows = self.active, len(self.slots)
        if not waiting:
            if active <= rows * (0.5 if self.cuda else 0.75):
                self._resize(active, self.cache.capacity)
            return
        free = max(min(self.batch, active + len(waiting)) - active, 0)
        if free == 0 or (active and free < max(1, self.batch // REFILL_SHARE) and len(waiting) > free):
            return
        chosen: list[int] = []
        capacity = self.cache.capacity if active else 0
        while waiting and len(chosen) < free:
            need = len(self.tasks[waiting[0]].prompt_ids) + self.settings.max_new_tokens
            wider = max(capacity, -(-need // LENGTH_STEP) * LENGTH_STEP)
            if (active + len(chosen) + 1) * wider > self.cells and (active or chosen):
                break
            capacity = wider
            chosen.append(waiting.popleft())
        if not chosen:
            return
        if active + len(chosen) > rows or capacity > self.cache.capacity:
            self._resize(active + len(chosen), capacity)
        self._prefill(chosen)

    def _resize(self, rows: int, capacity: int) -> None:
        kept = [index for index, slot in enumerate(self.slots) if slot is not None]
        self.graphs.clear()
        self.cache.keep(kept, capacity, rows)
        self.slots = [self.slots[index] for index in kept] + [None] * (rows - len(kept))

    def _prefill(self, chosen: list[int]) -> None:
        free = [index for index, slot in enumerate(self.slots) if slot is None]
        places = free[: len(chosen)]
        heads = [list(self.tasks[index].prompt_ids[:-1]) for index in chosen]
        for first, last in prefill_groups([len(head) for head in heads]):
            group = heads[first:last]
            width = len(group[-1])
            ids = torch.tensor([head + [0] * (width - len(head)) for head in group], device=self.device)
            # Padding stands on the right: with a causal mask no real token sees it, and later steps overwrite it.
            mask = torch.full((width, width), torch.finfo(self.model.dtype).min, dtype=self.model.dtype).triu(1)
            self.cache.prefill_rows = torch.tensor(places[first:last], device=self.device)
            self._forward(
                ids,
                mask.to(self.device).expand(len(group), 1, width, width),
                torch.arange(width, device=self.device).expand(len(group), width),
            )
            self.cache.prefill_rows = None
        for place, index, head in zip(places, chosen, heads, strict=True):
            task = self.tasks[index]
            self.slots[place] = Slot(index, len(head), int(task.prompt_ids[-1]), self.settings.max_new_tokens)
            if self.settings.do_sample:
                self.uniforms[index] = _uniforms(task.seed or 0, self.settings.max_new_tokens)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits

    def step(self) -> list[tuple[int, list[int], bool]]:
        """Feed every row its next token; the rows that finish come back and their slots are freed."""
        finished = []
        ids = torch.tensor([[slot.next_id if slot else 0] for slot in self.slots], device=self.device)
        positions = torch.tensor([slot.length if slot else 0 for slot in self.slots], device=self.device)
        longest = max(slot.length for slot in self.slots if slot) + 1
        logits = self._step_logits(ids, positions, longest)
        for row, next_id in enumerate(self._choose(logits)):
            slot = self.slots[row]
            if slot is None:
                continue
            slot.length += 1
            ended = next_id in self.stop
            if not ended:
                slot.new_ids.append(next_id)
                slot.next_id = next_id
            if ended or len(slot.new_ids) >= slot.limit:
                finished.append((slot.task, slot.new_ids, ended))
                self.uniforms.pop(slot.task, None)
                self.slots[row] = None
        return finished

    def _step_logits(self, ids: torch.Tensor, positions: torch.Tensor, longest: int) -> torch.Tensor:
        if not self.cuda:
            self.cache.attended = longest
            return _step_forward(self, ids, positions)
        self.cache.attended = self.cache.capacity
        if self.cache.kernels is None:
            self.cache.attended = min(-(-longest // LENGTH_STEP) * LENGTH_STEP, self.cache.capacity)
        if self.graphs_work:
            graph = self.graphs.get(self.cache.attended)
            if graph is None:
                graph = _capture(self, ids, positions)
            if graph is not None:
                self.graphs[self.cache.attended] = graph
                return graph.replay(ids, positions)
            self.graphs_work = False
        return _step_forward(self, ids, positions)

    def _choose(self, logits: torch.Tensor) -> list[int]:
        settings = self.settings
        held = [i for i, slot in enumerate(self.slots) if slot and len(slot.new_ids) < settings.min_new_tokens]
        if held:
            logits = logits.clone()
            columns = torch.tensor(sorted(self.stop), device=logits.device)
            logits[torch.tensor(held, device=logits.device)[:, None], columns] = -torch.inf
        if not settings.do_sample:
            return [int(i) for i in logits.argmax(-1).tolist()]
        drawn = [self.uniforms[slot.task][len(slot.new_ids)] if slot else 0.0 for slot in self.slots]
        uniform = torch.tensor(drawn, dtype=torch.float64, device=logits.device)
        return sample_top_p(logits, uniform, settings.temperature, settings.top_p)


def _kernels(model: Any) -> Any:
    """Return the module `slot_kernels` where it can serve this model, else None."""
    if model.device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    return slot_kernels if slot_kernels.can_attend(model) else None


def _uniforms(seed: int, count: int) -> Any:
    """The draws of one sample, all made at once, so that they depend on nothing but its seed."""
    return np.random.default_rng(seed).random(count)


def sample_top_p(logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float) -> list[int]:
    """One id per row by nucleus sampling (Holtzman et al., 2020) through the inverse of the distribution function.

    `logits` (rows, vocabulary); `uniform` (rows,) in [0, 1). The smallest set of most likely ids that holds `top_p`
    of the probability is kept.
    """
    probabilities, order = torch.softmax(logits.double() / temperature, dim=-1).sort(
        dim=-1, descending=True, stable=True
    )
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill(before >= top_p, 0.0)
    cumulative = kept.cumsum(-1)
    wanted = uniform[:, None] * cumulative[:, -1:]
    index = (cumulative <= wanted).sum(-1, keepdim=True).clamp_max(logits.shape[-1] - 1)
    last = (kept > 0).sum(-1, keepdim=True) - 1
    return [int(i) for i in order.gather(-1, torch.minimum(index, last))[:, 0].tolist()]


def _step_forward(decoder: _Decoder, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    cache, dtype = decoder.cache, decoder.model.dtype
    cache.positions = positions
    if cache.kernels is not None:
        unread = torch.zeros((1, 1, 1, 1), dtype=dtype, device=ids.device)  # keeps transformers from making a mask
        with cache.kernels.slot_attention(decoder.model, positions):
            return decoder._forward(ids, unread, positions[:, None])
    beyond = torch.arange(cache.attended, device=ids.device) > positions[:, None]
    mask = torch.zeros(beyond.shape, dtype=dtype, device=ids.device).masked_fill(beyond, torch.finfo(dtype).min)
    return decoder._forward(ids, mask[:, None, None, :], positions[:, None])


@dataclass
class _Graph:
    """A captured CUDA graph of one step at one attended length: replay costs one launch instead of thousands."""

    graph: Any
    ids: torch.Tensor
    positions: torch.Tensor
    logits: torch.Tensor

    def replay(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        self.ids.copy_(ids)
        self.positions.copy_(positions)
        self.graph.replay()
        return self.logits


def _capture(decoder: _Decoder, ids: torch.Tensor, positions: torch.Tensor) -> _Graph | None:
    """The graph of a step, or None where this model cannot be captured (then steps run as they are)."""
    ids, positions = ids.clone(), positions.clone()
    stream = torch.cuda.Stream(decoder.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(decoder.device))
    with torch.cuda.stream(stream):
        _step_forward(decoder, ids, positions)  # writes what the step itself will write again
    torch.cuda.current_stream(decoder.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            logits = _step_forward(decoder, ids, positions)
    except RuntimeError as error:
        torch.cuda.synchronize(decoder.device)
        warnings.warn(f"generation runs without CUDA graphs, slower: {error}", stacklevel=2)
        return None
    return _Graph(graph, ids, positions, logits)
