"""Every kind of tokenizer: the end token is trained on once a row, padding never, nothing is cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UserError
from curate.selection.record import read_selection
from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import encode_examples, encode_prompt, load_tokenizer
from finetune.batches.dataset import build_plan, encode_rows, refuse_other_counts
from finetune.batches.packing import IGNORED, build_packed_batch
from finetune.config import RunConfig
from finetune.run.job import pad_token

ROWS = [("sort a list", "sorted ( x )"), ("say hi", "print ( hi )"), ("copy", "a b c d e f g h"), ("x", "y")]
WORDS = sorted({word for row in ROWS for text in row for word in text.split()})
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
# name -> (special tokens the tokenizer declares, what its post-processor puts around a text)
STYLES: dict[str, tuple[dict[str, str], str]] = {
    "adds a start token, pads with the unknown one, as Llama 2": (
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}, "<s> $A"
    ),
    "adds a start token, has no pad token": (
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, "<s> $A"
    ),
    "adds nothing, pad is the end token, as smollm2 and GPT-2": (
        {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "</s>"}, "$A"
    ),
    "adds nothing, has a pad token of its own, as Qwen": ({"eos_token": "</s>", "pad_token": "<pad>"}, "$A"),
    "adds start and end token itself": (
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}, "<s> $A </s>"
    ),
    "has an end token and nothing else": ({"eos_token": "</s>"}, "$A"),
}  # fmt: skip


def build(style: str) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    declared, around = STYLES[style]
    backend = Tokenizer(WordLevel({w: i for i, w in enumerate([*SPECIAL, *WORDS])}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    backend.post_processor = TemplateProcessing(single=around, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, **declared)


@pytest.mark.parametrize("packing", ["best-fit", "none"])
@pytest.mark.parametrize("style", STYLES)
def test_the_end_token_is_trained_on_once_a_row_and_padding_never(style: str, packing: str) -> None:
    tokenizer = build(style)
    config = RunConfig(max_length=16, packing=packing, per_device_train_batch_size=4, gradient_accumulation_steps=1)  # type: ignore[arg-type]
    examples = encode_examples(tokenizer, RAW, ROWS)
    start = ["<s>"] if "<s> $A" in STYLES[style][1] else []
    words = [[*start, *prompt.split(), *output.split(), "</s>"] for prompt, output in ROWS]
    assert [tokenizer.convert_ids_to_tokens(e.input_ids) for e in examples] == words
    plan = build_plan(examples, config)
    batch = build_packed_batch([[plan.examples[i] for i in bin_] for bin_ in plan.bins], pad_token(tokenizer, config))
    assert (batch["sample_ids"] == -1).any()
    trained = batch["labels"][batch["labels"] != IGNORED]
    assert sorted(tokenizer.convert_ids_to_tokens(trained)) == sorted(
        word for _, output in ROWS for word in [*output.split(), "</s>"]
    )
    assert (batch["labels"][batch["sample_ids"] == -1] == IGNORED).all()


def test_nothing_of_a_real_selection_is_cut(selection: Path) -> None:
    """The tokens of the plan, decoded, are the rows of the file."""
    picked = read_selection(selection)
    tokenizer = load_tokenizer(picked.manifest.config["model"], picked.manifest.config["tokenizer"])
    plan = build_plan(encode_rows(tokenizer, picked, picked.selected), RunConfig(max_length=128))
    texts = sorted(tokenizer.decode(plan.examples[i].input_ids) for bin_ in plan.bins for i in bin_)
    rows = [json.loads(line) for line in (selection / "selected.jsonl").read_text().splitlines()]
    assert texts == sorted(f"{row['instruction']}\n{row['output']}{tokenizer.eos_token}" for row in rows)


def test_a_model_that_has_learnt_a_row_writes_it_and_stops(tmp_path: Path) -> None:
    """Trained on one row until it knows it, then asked: the text of the row, then the end token, and no more."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from finetune.batches.token_loss import token_nll

    tokenizer = build("adds nothing, pad is the end token, as smollm2 and GPT-2")
    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(tokenizer),
        bos_token_id=None, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(shape)
    batch = build_packed_batch([encode_examples(tokenizer, RAW, ROWS)], 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        token_nll(model, batch)[0].mean().backward()
        optimizer.step()
    for prompt, output in ROWS:
        ids = torch.tensor([encode_prompt(tokenizer, RAW, prompt)])
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, pad_token_id=0
        )
        assert tokenizer.convert_ids_to_tokens(made[0, ids.shape[1] :]) == [*output.split(), "</s>"]


def test_a_selection_whose_token_counts_no_longer_fit_is_not_trained_on(selection: Path) -> None:
    """Counted when `</s>` in a row's text was the end token, for instance."""
    picked = read_selection(selection)
    tokenizer = load_tokenizer(picked.manifest.config["model"], picked.manifest.config["tokenizer"])
    examples = encode_rows(tokenizer, picked, picked.selected)
    refuse_other_counts(picked, examples)
    first, *rest = picked.selected
    older = replace(picked, selected=[replace(first, token_count=first.token_count - 2), *rest])
    with pytest.raises(UserError, match=r"^1 of \d+ rows have other token counts than the selection"):
        refuse_other_counts(older, examples)
