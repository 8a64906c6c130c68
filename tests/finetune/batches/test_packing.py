"""Packing: nothing cut, nothing wasted that need not be, and no sample sees another, in every family and attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.tokens.tokenizers import EncodedExample
from finetune.attention import register
from finetune.batches.packing import IGNORED, build_packed_batch, pack_examples
from finetune.batches.token_loss import token_nll

# Weights large enough for attention to choose: with the usual ones every token sees much the same, and leaks less.
LARGE: dict[str, Any] = {"vocab_size": 96, "initializer_range": 0.2}
NEW: dict[str, Any] = LARGE | {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
OLD: dict[str, Any] = LARGE | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "Llama, grouped queries": ("llama", NEW, ("eager", "sdpa", "varlen")),
    "Mistral, window shorter than the samples": ("mistral", NEW | {"sliding_window": 4}, ("eager", "sdpa")),
    "Gemma 2, capped scores, every other layer a window": (
        "gemma2",
        NEW | {"head_dim": 8, "sliding_window": 4, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 8},
        ("eager",),
    ),
    "Qwen 2, biases": ("qwen2", NEW, ("eager", "sdpa", "varlen")),
    "GPT-2, learned positions": (
        "gpt2",
        OLD | {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0},
        ("eager", "sdpa"),
    ),
    "GPT-J, partial rotary": ("gptj", OLD | {"rotary_dim": 4, "tie_word_embeddings": False}, ("eager",)),
}
CASES = [(name, attention) for name, (_, _, ways) in ARCHITECTURES.items() for attention in ways]
Batch = dict[str, torch.Tensor]


def build(name: str, attention: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    if attention == "varlen":
        register()
    kind, shape, _ = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **shape)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32).eval()


def samples(*lengths: int, seed: int = 0) -> list[EncodedExample]:
    generator = torch.Generator().manual_seed(seed)
    return [EncodedExample(torch.randint(3, 96, (n,), generator=generator).tolist(), 2) for n in lengths]


def packed() -> Batch:
    """Two bins of several samples each, the second padded."""
    rows = samples(9, 6, 12, 7, 8)
    return build_packed_batch([rows[:3], rows[3:]], 0)


def continued_positions(batch: Batch) -> Batch:
    """A packer that forgets the borders: positions run on, so attention does too."""
    shape = batch["input_ids"].shape
    return batch | {"position_ids": torch.arange(shape[1]).expand(shape)}


def ordinary_mask(batch: Batch) -> Batch:
    """A packer that restarts positions but hands over a mask of ones: attention crosses the borders."""
    return batch | {"attention_mask": torch.ones_like(batch["input_ids"])}


def whole(batch: Batch) -> Batch:
    """The packer this project has."""
    return batch


def logits(model: Any, batch: Batch) -> torch.Tensor:
    """At every real place, bin after bin: (tokens x vocabulary)."""
    more = {"attention_mask": batch["attention_mask"]} if "attention_mask" in batch else {}
    out = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False, **more).logits
    return out[batch["sample_ids"] >= 0]


def alone() -> list[Batch]:
    return [build_packed_batch([[row]], 0) for row in samples(9, 6, 12, 7, 8)]


def distance_from_rows_alone(model: Any, packer: Callable[[Batch], Batch]) -> tuple[float, float]:
    """Largest difference (of logits, of gradients relative to the largest one) between packed rows and rows alone."""
    together = packer(packed())
    with torch.no_grad():
        apart = torch.cat([logits(model, batch) for batch in alone()])
        of_logits = float((logits(model, together) - apart).abs().max())
    token_nll(model, together)[0].sum().backward()
    first = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for batch in alone():
        token_nll(model, batch)[0].sum().backward()
    largest = max(float(p.grad.abs().max()) for p in model.parameters())
    pairs = zip(model.parameters(), first, strict=True)
    return of_logits, max(float((p.grad - grad).abs().max()) for p, grad in pairs) / largest


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_packed_rows_have_the_logits_and_gradients_of_rows_alone(name: str, attention: str) -> None:
    of_logits, of_gradients = distance_from_rows_alone(build(name, attention), whole)
    assert of_logits <= 1e-5
    assert of_gradients <= 1e-5


@pytest.mark.parametrize("packer", [continued_positions, ordinary_mask])
@pytest.mark.parametrize(("name", "attention"), CASES)
def test_a_leaky_packer_fails_the_same_check(name: str, attention: str, packer: Callable[[Batch], Batch]) -> None:
    of_logits, of_gradients = distance_from_rows_alone(build(name, attention), packer)
    if attention == "varlen" and packer is ordinary_mask:
        assert of_logits <= 1e-5  # it goes by the positions alone: a mask of ones does not mislead it
        return
    assert of_logits > 1e-2
    assert of_gradients > 1e-3


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_changing_one_sample_changes_anothers_logits_by_exactly_nothing(name: str, attention: str) -> None:
    model = build(name, attention)
    assert influence(model, whole) == 0.0
    assert influence(model, continued_positions) > 0.0


@pytest.mark.long
def test_flex_attention_keeps_samples_apart_too() -> None:
    if " " in torch.__file__:
        pytest.skip(
            "FLEX ATTENTION IS NOT SHOWN: torch's compiler does not take a path with a blank, where torch lies here"
        )
    """Forward only: on a CPU it has no backward. One shape of batch, since each is compiled."""
    model, rows = build("Llama, grouped queries", "flex_attention"), samples(9, 6, 12, 7, 8)
    changed = build_packed_batch([[*samples(9, seed=1), *rows[1:3]], rows[3:]], 0)
    with torch.no_grad():
        apart = torch.cat([logits(build("Llama, grouped queries", "eager"), batch) for batch in alone()])
        together, after = logits(model, packed()), logits(model, changed)
    assert float((together - apart).abs().max()) <= 1e-5
    assert torch.equal(together[9:], after[9:])
    assert not torch.equal(together[:9], after[:9])


def influence(model: Any, packer: Callable[[Batch], Batch]) -> float:
    """How far the logits of all other samples move when the first one is another of the same length."""
    rows, other = samples(9, 6, 12), samples(9, seed=1)
    before, after = (packer(build_packed_batch([bin_], 0)) for bin_ in (rows, [*other, *rows[1:]]))
    with torch.no_grad():
        first, second = logits(model, before), logits(model, after)
    assert not torch.equal(first[:9], second[:9])
    return float((first[9:] - second[9:]).abs().max())


def fewest_bins(lengths: Sequence[int], room: int) -> int:
    """By trying everything."""

    def place(rest: Sequence[int], bins: tuple[int, ...]) -> int:
        if not rest:
            return len(bins)
        options = [place(rest[1:], (*bins, rest[0]))]
        for i in range(len(bins)):
            if bins[i] + rest[0] <= room and bins[i] not in bins[:i]:
                options.append(place(rest[1:], (*bins[:i], bins[i] + rest[0], *bins[i + 1 :])))
        return min(options)

    return place(lengths, ())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=7), st.integers(20, 30))
def test_bins_hold_every_row_once_and_are_few(lengths: list[int], room: int) -> None:
    bins = pack_examples(lengths, room)
    assert sorted(i for places in bins for i in places) == list(range(len(lengths)))
    filled = sorted(sum(lengths[i] for i in places) for places in bins)
    assert all(0 < tokens <= room for tokens in filled)
    assert len(filled) < 2 or filled[0] + filled[1] > room  # no two bins could have been one
    # The bound of best-fit decreasing (Johnson, 1974; its constant Dosa, 2007).
    assert 9 * len(bins) <= 11 * fewest_bins(lengths, room) + 6


ROW = st.builds(
    lambda ids, prompt: EncodedExample([*ids, 2], min(prompt, len(ids))),
    st.lists(st.integers(2, 9), min_size=1, max_size=12),
    st.integers(0, 12),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=12), st.sampled_from([0, 2]), st.booleans())
def test_a_batch_is_its_rows_and_nothing_else(rows: list[EncodedExample], pad: int, completion_only: bool) -> None:
    """Also where the pad token is the end token, 2, and where rows hold end tokens in their middle."""
    bins = pack_examples([len(row.input_ids) for row in rows], 24)
    batch = build_packed_batch([[rows[i] for i in places] for places in bins], pad, completion_only)
    order = [i for places in bins for i in places]
    for sample, index in enumerate(order):
        row, here = rows[index], batch["sample_ids"] == sample
        assert batch["input_ids"][here].tolist() == row.input_ids
        assert batch["position_ids"][here].tolist() == list(range(len(row.input_ids)))
        skipped = max(1, row.prompt_length) if completion_only else 1
        assert batch["labels"][here].tolist() == [IGNORED] * skipped + row.input_ids[skipped:]
        assert batch["labels"][here].tolist()[-1] == 2  # the end token is trained on
    padding = batch["sample_ids"] == -1
    assert (batch["labels"][padding] == IGNORED).all()
    assert (batch["input_ids"][padding] == pad).all()
    assert int((~padding).sum()) == sum(len(row.input_ids) for row in rows)
