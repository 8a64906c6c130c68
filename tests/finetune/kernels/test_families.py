"""Every family the presets name: a tiny random model of its architecture goes through a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import build_packed_batch
from finetune.config import load_config, preset_names
from finetune.memory.shapes import load_shape
from tests.finetune.conftest import QUICK, build_tiny
from tests.manifests import edit_manifest

SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OLD: dict[str, Any] = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SMALL, "mistral": SMALL, "qwen2": SMALL, "gemma2": SMALL | {"head_dim": 8}, "gpt2": OLD,
    "gptj": OLD | {"rotary_dim": 4, "tie_word_embeddings": False},
}  # fmt: skip
EAGER = {"gemma2", "gptj"}


def test_the_families_are_those_of_the_presets() -> None:
    assert {load_shape(load_config(name).model).model_type for name in preset_names()} == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_model_of_the_family_trains_and_its_run_loads(
    family: str, selection: Path, tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig

    from curate.selection.record import read_selection
    from finetune.model import load_run
    from finetune.recipe import train
    from finetune.run.tokenizer import TOKENIZER_FILES

    # transformers builds some families' tokenizers in its own way, whatever the folder holds; the rows were counted so.
    edit_manifest(selection, lambda manifest: manifest["config"].update(tokenizer=str(tiny_model)))
    shape = AutoConfig.for_model(family, vocab_size=49152, **FAMILIES[family])
    build_tiny(tmp_path / family, shape)
    for name in TOKENIZER_FILES:  # weights alone: the selection's tokenizer is the model's
        (tmp_path / family / name).unlink(missing_ok=True)
    settings = {
        "model": str(tmp_path / family),
        "max_steps": 2,
        "attn_implementation": "eager" if family in EAGER else "sdpa",
    }
    config = load_config(None, None, [*QUICK, *(f"{name}={value}" for name, value in settings.items())])
    run = train(config, read_selection(selection), tmp_path / "run", wandb_mode="off")
    assert [line["step"] for line in run.history] == [0, 1, 2]
    assert run.history[2]["eval_loss"] < run.history[0]["eval_loss"]
    model, tokenizer = load_run(run.path)
    made = model.generate(**tokenizer("sort a list\n", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert made.shape[1] > 4


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_samples_of_the_family_do_not_see_each_other(family: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family, vocab_size=96, **FAMILIES[family]),
        attn_implementation="eager" if family in EAGER else "sdpa",
    ).eval()

    def logits(first: range) -> torch.Tensor:
        bin_ = [EncodedExample(list(first), 2), EncodedExample(list(range(60, 69)), 2)]
        batch = build_packed_batch([bin_], 0)
        with torch.no_grad():
            out = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
        return out[7:]

    assert torch.equal(logits(range(5, 12)), logits(range(30, 37)))
