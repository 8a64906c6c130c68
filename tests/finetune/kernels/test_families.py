"""Every family the presets name: a tiny random model of its architecture goes through a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curate.errors import UserError
from curate.tokens.tokenizers import EncodedExample
from finetune.batches.packing import build_packed_batch
from finetune.config import load_config, preset_names
from finetune.kernels import accelerate_model
from finetune.memory.shapes import load_shape
from tests.finetune.conftest import QUICK, build_tiny
from tests.finetune.kernels.test_kernels import assert_same, build, losses_and_gradients
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
    "llama": SMALL, "mistral": SMALL, "qwen2": SMALL, "qwen3": SMALL | {"head_dim": 16},
    "smollm3": SMALL | {"no_rope_layer_interval": 2, "pad_token_id": 0}, "gemma2": SMALL | {"head_dim": 8},
    "gemma3_text": SMALL | {"head_dim": 8, "sliding_window": 8}, "gpt2": OLD,
    "gptj": OLD | {"rotary_dim": 4, "tie_word_embeddings": False},
}  # fmt: skip
EAGER = {"gemma2", "gptj"}


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
SOME_SLIDE = {"sliding_window": 6, "use_sliding_window": True, "max_window_layers": 1}
# What the kernels compute: (family, what differs from its small shape).
ON_KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 2": ("llama", {}),
    "Llama 3.2, tied": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "Mistral v0.1, within its window": ("mistral", {"sliding_window": 6}),
    "Mistral v0.3": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "Qwen2.5, tied": ("qwen2", {"tie_word_embeddings": True}),
    "Qwen2 with windows in some layers": ("qwen2", SOME_SLIDE),
    "Qwen3": ("qwen3", {}),
    "Qwen3, tied, with windows in some layers": ("qwen3", {"tie_word_embeddings": True, **SOME_SLIDE}),
    "SmolLM3": ("smollm3", {"tie_word_embeddings": True}),
}


def build_without_tokenizer(folder: Path, family: str, **more: Any) -> None:
    """Save a random model whose norms differ from one, as those of trained models do."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=1000, **(FAMILIES[family] | more))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)


@pytest.mark.parametrize("checkpointing", ["false", "true"])
@pytest.mark.parametrize("kind", ON_KERNELS)
def test_the_kernels_give_the_losses_and_gradients_of_transformers_and_peft(
    kind: str, checkpointing: str, tmp_path: Path
) -> None:
    family, more = ON_KERNELS[kind]
    build_without_tokenizer(tmp_path, family, **more)
    model, config = build(tmp_path, "load_in_4bit=false", f"gradient_checkpointing={checkpointing}")
    expected = losses_and_gradients(model)
    assert accelerate_model(model, config, torch.float32) is None
    assert_same(losses_and_gradients(model), expected)


def test_a_window_changes_what_is_computed(tmp_path: Path) -> None:
    """Else the test above would compare nothing."""
    build_without_tokenizer(tmp_path / "a", "mistral", sliding_window=6)
    build_without_tokenizer(tmp_path / "b", "mistral", sliding_window=None)
    losses = [losses_and_gradients(build(tmp_path / name, "load_in_4bit=false")[0])[0] for name in "ab"]
    assert float((losses[0] - losses[1]).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("family", "override", "reason"),
    [
        ("gemma3_text", "r=8", "gemma3_text is not one of llama, mistral, qwen2, qwen3, smollm3 with SwiGLU"),
        ("llama", "use_dora=true", "DoRA scales what the adapters add in a way they do not compute"),
    ],
)
def test_what_the_kernels_do_not_compute_is_one_line_and_transformers_computes_it(
    family: str, override: str, reason: str, tmp_path: Path
) -> None:
    build_without_tokenizer(tmp_path, family)
    model, config = build(tmp_path, "load_in_4bit=false", override)
    expected = losses_and_gradients(model)[0]
    assert accelerate_model(model, config.model_copy(update={"kernels": "auto", "device": "cpu"}), torch.float32)
    with pytest.raises(UserError, match=reason):
        accelerate_model(model, config, torch.float32)
    assert torch.equal(losses_and_gradients(model)[0], expected)


@pytest.mark.parametrize("option", ["use_rslora=true", "init_lora_weights=gaussian", "init_lora_weights=orthogonal"])
def test_pefts_options_that_the_kernels_compute_pass_through(option: str, tmp_path: Path) -> None:
    build_without_tokenizer(tmp_path, "llama")
    model, config = build(tmp_path, "load_in_4bit=false", option)
    recorded = model.peft_config["default"]
    name, value = option.split("=")
    assert str(getattr(recorded, name)).lower() == value
    expected = losses_and_gradients(model)
    assert accelerate_model(model, config, torch.float32) is None
    assert_same(losses_and_gradients(model), expected)


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
    run = train(config, read_selection(selection), tmp_path / "run", track="none")
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
