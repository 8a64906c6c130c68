"""Packing, labels and losses: what the model sees is exactly the rows, each alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curate.tokens.prompt import RAW
from curate.tokens.tokenizers import EncodedExample, encode_examples, load_tokenizer
from finetune.batches.dataset import build_plan, join_and_cut
from finetune.batches.packing import IGNORED, build_packed_batch, pack_examples
from finetune.batches.token_loss import mean_loss, row_losses, token_nll
from finetune.config import load_config, preset_names

ROWS = [("sort a list", "sorted(x)"), ("copy a file", "shutil.copy(a, b)  # done"), ("say hi", "print('hi')")]


def examples() -> list[EncodedExample]:
    return encode_examples(load_tokenizer("smollm2-135m"), RAW, ROWS)


def tiny(tiny_model: Path, attention: str = "sdpa") -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation=attention)


def leaky(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same batch as a packer that forgets the borders would build it."""
    return {**batch, "position_ids": torch.arange(batch["input_ids"].shape[1])[None]}


def largest_difference(model: Any, packed: dict[str, torch.Tensor]) -> float:
    """Between the losses of packed rows and those of each row alone."""
    alone = torch.cat([token_nll(model, build_packed_batch([[example]], 0))[0] for example in examples()])
    return float((token_nll(model, packed)[0] - alone).abs().max())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_have_the_losses_and_gradients_of_rows_alone(tiny_model: Path, attention: str) -> None:
    model = tiny(tiny_model, attention)
    packed = build_packed_batch([examples()], 0)
    assert largest_difference(model, packed) <= 1e-5
    model.zero_grad()
    token_nll(model, packed)[0].sum().backward()
    together = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for example in examples():
        token_nll(model, build_packed_batch([[example]], 0))[0].sum().backward()
    for p, grad in zip(model.parameters(), together, strict=True):
        assert float((p.grad - grad).abs().max()) <= 1e-5 * max(1.0, float(grad.abs().max()))


def test_a_packer_that_lets_samples_see_each_other_fails_the_same_check(tiny_model: Path) -> None:
    assert largest_difference(tiny(tiny_model), leaky(build_packed_batch([examples()], 0))) > 1e-3


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_changing_one_sample_changes_anothers_logits_by_exactly_nothing(tiny_model: Path, attention: str) -> None:
    model = tiny(tiny_model, attention)
    batch = build_packed_batch([examples()], 0)
    changed = {name: value.clone() for name, value in batch.items()}
    first = changed["sample_ids"] == 0
    changed["input_ids"][first] = torch.randint(5, 40000, (int(first.sum()),))
    with torch.no_grad():
        before, after = (
            model(input_ids=b["input_ids"], position_ids=b["position_ids"], use_cache=False).logits
            for b in (batch, changed)
        )
    assert torch.equal(before[~first], after[~first])
    assert not torch.equal(before[first], after[first])


def test_best_fit_wastes_at_most_a_hundredth_and_cuts_nothing(shared_data: Path) -> None:
    import json

    tokenizer = load_tokenizer("x/y", str(shared_data / "llama2-tokenizer"))
    rows = [json.loads(line) for line in (shared_data / "codegen-4.5k.jsonl").open()]
    lengths = [
        len(e.input_ids) for e in encode_examples(tokenizer, RAW, [(r["instruction"], r["output"]) for r in rows])
    ]
    bins = pack_examples(lengths, 1024)
    assert sorted(i for places in bins for i in places) == list(range(len(lengths)))
    assert max(sum(lengths[i] for i in places) for places in bins) <= 1024
    assert 1 - sum(lengths) / (1024 * len(bins)) <= 0.01


def test_a_row_longer_than_a_bin_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1 has 9 tokens; a bin holds 8"):
        pack_examples([3, 9], 8)


def test_only_the_output_and_the_end_token_carry_loss() -> None:
    tokenizer = load_tokenizer("smollm2-135m")
    batch = build_packed_batch([examples()[:2], examples()[2:]], pad_token_id=tokenizer.eos_token_id)
    for row in range(2):
        labelled = batch["labels"][row] != IGNORED
        assert torch.equal(batch["labels"][row][labelled], batch["input_ids"][row][labelled])
        assert tokenizer.decode(batch["labels"][row][labelled]) in (
            "sorted(x)<|im_end|>shutil.copy(a, b)  # done<|im_end|>", "print('hi')<|im_end|>",
        )  # fmt: skip
    assert (batch["labels"][batch["sample_ids"] == -1] == IGNORED).all()


def test_row_losses_do_not_depend_on_what_they_are_packed_with(tiny_model: Path) -> None:
    model = tiny(tiny_model)
    together = row_losses(model, examples(), 0)
    alone = [row_losses(model, [example], 0)[0] for example in examples()]
    assert [loss.tokens for loss in together] == [len(e.input_ids) - e.prompt_length for e in examples()]
    assert [loss.nll for loss in together] == pytest.approx([loss.nll for loss in alone], abs=1e-4)
    assert mean_loss(together) == pytest.approx(sum(x.nll for x in alone) / sum(x.tokens for x in alone), abs=1e-6)
    assert mean_loss([]) is None


def test_an_evaluation_before_training_leaves_the_gradients_of_a_4bit_model_alone(tiny_model: Path) -> None:
    from finetune.model import attach_adapter, load_base_model

    config = load_config(None, overrides=["device=cpu"], model=str(tiny_model))
    gradients = []
    for evaluate_first in (False, True):
        model = attach_adapter(load_base_model(config), config)
        if evaluate_first:
            row_losses(model, examples(), 0)
        model.train()
        token_nll(model, build_packed_batch([examples()], 0))[0].sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad})
    assert sum(float(g.abs().sum()) for g in gradients[0].values()) > 0
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_adapters_of_a_4bit_model_train_in_float32(tiny_model: Path) -> None:
    from finetune.model import attach_adapter, load_base_model

    config = load_config(None, overrides=["device=cpu"], model=str(tiny_model))
    model = attach_adapter(load_base_model(config), config)
    assert type(model.base_model.model.model.layers[0].self_attn.q_proj.base_layer).__name__ == "Linear4bit"
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


def test_adapters_of_a_float16_model_train_in_float32_under_a_gradient_scaler(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a CPU can show of a T4's run: the dtypes, and that transformers is asked for float16 autocast."""
    from types import SimpleNamespace

    from finetune import trainer
    from finetune.model import attach_adapter, load_base_model

    config = load_config("colab-t4", overrides=["device=cpu", "load_in_4bit=false"]).model_copy(
        update={"model": str(tiny_model)}
    )
    model = attach_adapter(load_base_model(config), config)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.float16}
    asked: dict[str, Any] = {}
    monkeypatch.setattr(trainer, "SFTConfig", lambda **given: asked.update(given))
    job: Any = SimpleNamespace(
        config=config, kernels_refused="off", uses_kernels=False,
        checkpoints=tmp_path, plan=SimpleNamespace(max_steps=1),
        processes=SimpleNamespace(size=1),
    )  # fmt: skip
    trainer.training_arguments(job, "cuda", "float16", None)
    assert (asked["fp16"], asked["bf16"], asked["gradient_checkpointing"]) == (True, False, True)


def test_the_plan_is_a_function_of_the_seed_and_every_epoch_holds_every_row_once() -> None:
    rows = [EncodedExample([7] * n, 1) for n in range(2, 40)]
    config = load_config(None, overrides=["max_length=64", "num_train_epochs=2", "gradient_accumulation_steps=1"])
    plan = build_plan(rows, config)
    seen = [i for places in plan.bins for i in places]
    assert sorted(seen) == sorted(list(range(38)) * 2)
    assert build_plan(rows, config).bins == plan.bins
    other = load_config(
        None, overrides=["max_length=64", "num_train_epochs=2", "seed=1", "gradient_accumulation_steps=1"]
    )
    assert build_plan(rows, other).bins != plan.bins


def test_the_notebooks_packing_joins_and_cuts_and_loses_end_tokens() -> None:
    rows = [EncodedExample([1, 5, 5, 2], 2)] * 5
    assert [e.input_ids for e in join_and_cut(rows, 6)] == [[1, 5, 5, 2, 1, 5], [5, 2, 1, 5, 5, 2], [1, 5, 5, 2, 1, 5]]


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_resolves_and_gives_a_reason_for_what_differs(preset: str) -> None:
    from finetune.config import preset_path

    config = load_config(preset)
    text = preset_path(preset).read_text()
    assert text.startswith("# ")
    assert config.model in text
    values = [line for line in text.splitlines() if line and not line.startswith(("#", "model: "))]
    assert [line for line in values if " # " not in line] == []
