"""The written-out layer computes what transformers and peft compute, forward and backward; so do the Triton kernels."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from curate.errors import UserError
from curate.tokens.tokenizers import EncodedExample
from finetune import attention
from finetune.batches.packing import build_packed_batch
from finetune.batches.token_loss import token_nll
from finetune.config import RunConfig, load_config
from finetune.kernels import accelerate_model
from finetune.kernels.patch import plan_memory
from finetune.model import adapter_off, attach_adapter, load_base_model

ROWS = [EncodedExample([5 + (7 * i + j) % 900 for j in range(n)], 3) for i, n in enumerate((11, 30, 7, 19, 4))]


def build(tiny_model: Path, *overrides: str) -> tuple[Any, RunConfig]:
    """An adapted model whose B matrices are not zero, as after some steps."""
    config = load_config(None, overrides=["device=cpu", "kernels=true", *overrides], model=str(tiny_model))
    model = attach_adapter(load_base_model(config), config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model.train(), config


def packed() -> dict[str, torch.Tensor]:
    """Two bins of unequal fill: borders inside rows, and padding at the end of the second."""
    return build_packed_batch([ROWS[:3], ROWS[3:]], 0)


def losses_and_gradients(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    nll, _ = token_nll(model, packed())
    (nll * torch.linspace(0.5, 1.5, len(nll))).sum().backward()
    return nll.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def assert_same(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    assert float((found[0] - expected[0]).abs().max()) <= 1e-5
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert float((found[1][name] - gradient).abs().max()) <= 1e-5 * max(1.0, float(gradient.abs().max())), name


@pytest.mark.parametrize("checkpointing", ["false", "true"])
@pytest.mark.parametrize("four_bit", ["false", "true"])
@pytest.mark.parametrize("targets", ["all-linear", "[q_proj, v_proj]", "[down_proj]"])
def test_losses_and_gradients_are_those_of_transformers_and_peft(
    tiny_model: Path, targets: str, four_bit: str, checkpointing: str
) -> None:
    model, config = build(
        tiny_model, f"target_modules={targets}", f"load_in_4bit={four_bit}", f"gradient_checkpointing={checkpointing}"
    )
    expected = losses_and_gradients(model)
    assert accelerate_model(model, config, torch.float32) is None
    assert_same(losses_and_gradients(model), expected)


def test_biases_of_qwen2_are_kept(tmp_path: Path) -> None:
    from transformers import Qwen2Config

    from tests.finetune.conftest import build_tiny

    build_tiny(
        tmp_path,
        Qwen2Config(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, vocab_size=1000, max_position_embeddings=512),
    )  # fmt: skip
    model, config = build(tmp_path, "load_in_4bit=false")
    for layer in model.base_model.model.model.layers:
        layer.self_attn.q_proj.base_layer.bias.data.normal_()
    expected = losses_and_gradients(model)
    assert accelerate_model(model, config, torch.float32) is None
    assert_same(losses_and_gradients(model), expected)


def test_dropout_falls_on_each_adapters_input_as_in_peft(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.kernels.projection import Projection

    model, config = build(tiny_model, "lora_dropout=0.4", "load_in_4bit=false")
    drawn: dict[int, torch.Tensor] = {}
    draw = Projection.draw_drops

    def recorded(self: Projection, x: torch.Tensor, training: bool) -> list[torch.Tensor]:
        masks = draw(self, x, training)
        drawn.update({id(a.down): mask for a, mask in zip(self.adapters, masks, strict=True)})
        return masks

    class SameDrop(torch.nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.key = id(module.lora_A["default"].weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * drawn[self.key].view(x.shape) / 0.6

    reference, _ = build(tiny_model, "lora_dropout=0.4", "load_in_4bit=false")
    monkeypatch.setattr(Projection, "draw_drops", recorded)
    assert accelerate_model(model, config, torch.float32) is None
    found = losses_and_gradients(model)
    pairs = zip(model.modules(), reference.modules(), strict=True)
    for ours, theirs in [(a, b) for a, b in pairs if hasattr(a, "lora_A")]:
        theirs.lora_dropout["default"] = SameDrop(ours)
    assert len(drawn) == 14 and 0.5 < float(torch.cat([m.flatten().float() for m in drawn.values()]).mean()) < 0.7
    assert_same(found, losses_and_gradients(reference))


def test_an_optimizer_step_is_seen_by_the_next_pass(tiny_model: Path) -> None:
    model, config = build(tiny_model)
    reference, _ = build(tiny_model)
    accelerate_model(model, config, torch.float32)
    for each in (model, reference):
        optimizer = torch.optim.SGD([p for p in each.parameters() if p.requires_grad], 0.1)
        losses_and_gradients(each)
        optimizer.step()
    assert_same(losses_and_gradients(model), losses_and_gradients(reference))


def test_without_adapter_with_a_cache_or_merged_the_model_computes_as_before(tiny_model: Path) -> None:
    model, config = build(tiny_model, "load_in_4bit=false")
    reference, _ = build(tiny_model, "load_in_4bit=false")
    accelerate_model(model, config, torch.float32)
    ids, mask = torch.tensor([[0, 0, 9, 8, 7], [3, 4, 5, 6, 7]]), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    for each in (model, reference):
        each.eval()
    with torch.no_grad():
        settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
        texts = [m.generate(input_ids=ids, attention_mask=mask, **settings) for m in (model, reference)]
        assert torch.equal(*texts)
        with adapter_off(model), adapter_off(reference):
            bare = [token_nll(m, packed())[0] for m in (model, reference)]
        assert torch.allclose(*bare, atol=1e-5)
        adapted = token_nll(reference, packed())[0]
        assert float((adapted - bare[1]).abs().max()) > 1e-3
        assert torch.allclose(model.merge_and_unload()(ids).logits, reference.merge_and_unload()(ids).logits, atol=1e-4)


@pytest.mark.parametrize("implementation", ["varlen", "eager"])
def test_variable_length_attention_keeps_samples_apart(tiny_model: Path, implementation: str) -> None:
    from transformers import AutoModelForCausalLM

    attention.register()
    model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation=implementation)
    reference = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="sdpa")
    assert torch.allclose(token_nll(model, packed())[0], token_nll(reference, packed())[0], atol=1e-5)
    batch, changed = packed(), packed()
    first = changed["sample_ids"] == 0
    changed["input_ids"][first] += 1
    with torch.no_grad():
        before, after = (
            model(input_ids=b["input_ids"], position_ids=b["position_ids"], use_cache=False).logits
            for b in (batch, changed)
        )
    assert torch.equal(before[~first], after[~first])
    assert not torch.equal(before[first], after[first])


def test_segments_start_at_rows_and_restarts() -> None:
    found = attention.find_segments(torch.tensor([[0, 1, 2, 0, 1], [0, 1, 0, 0, 1]]), 2, 5)
    assert found.starts == [0, 3, 5, 7, 8, 10] and found.longest == 3 and not found.whole_rows
    assert attention.find_segments(torch.arange(5)[None], 3, 5).whole_rows


def test_memory_goes_to_activations_first_and_to_weights_with_what_is_left() -> None:
    from types import SimpleNamespace

    norm = torch.empty(64)
    projection = SimpleNamespace(bytes=10**6)
    layers: Any = [
        SimpleNamespace(first_norm=norm, kept_bytes=lambda tokens: 1000 * tokens, projections=(projection,) * 4,
                        parameters=[])
    ] * 8  # fmt: skip

    def plan(free: int, checkpointing: str = "auto") -> tuple[int, int]:
        config = load_config(
            None,
            overrides=[f"gradient_checkpointing={checkpointing}", "max_length=1000", "per_device_train_batch_size=4"],
        )
        found = plan_memory(layers, config, free, 100)
        return found.kept_layers, found.kept_weights

    assert plan(10**12) == (8, 32)
    assert plan(10**12, "true") == (0, 0)
    assert plan(0, "false") == (8, 0)
    kept, weights = plan(30_000_000)
    assert 0 < kept < 8 and weights < 4
    kept, weights = plan(60_000_000)
    assert kept == 8 and 0 < weights < 32


def test_where_they_cannot_work_auto_says_why_and_true_is_refused(tiny_model: Path) -> None:
    config = load_config(None, overrides=["device=cpu"], model=str(tiny_model))
    model = attach_adapter(load_base_model(config), config)
    assert accelerate_model(model, config, torch.float32) == "there is no GPU"
    eager = config.model_copy(update={"kernels": True, "attn_implementation": "eager"})
    with pytest.raises(UserError, match="they bring their own attention"):
        accelerate_model(model, eager, torch.float32)
    assert accelerate_model(model, config.model_copy(update={"kernels": False}), torch.float32) == "kernels: false"


@pytest.mark.skipif(
    not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1",
    reason="needs a GPU, or triton with TRITON_INTERPRET=1",
)
def test_triton_kernels_compute_what_the_plain_functions_compute() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from benchmarks.kernel_check import SMALL, UNEVEN, check_all

    cuda = torch.cuda.is_available()
    for sizes in (SMALL, UNEVEN) if cuda else (SMALL,):
        errors = check_all("cuda" if cuda else "cpu", sizes)
        assert len(errors) >= 20
        for name, (error, bound) in errors.items():
            assert error <= bound, name


def test_the_flat_optimizer_steps_as_one_state_a_parameter_and_the_adapter_saves_as_ever(
    tiny_model: Path, tmp_path: Path
) -> None:
    from bitsandbytes.optim import PagedAdamW8bit
    from safetensors.torch import load_file

    from finetune.model import build_flat_optimizer, save_adapter

    def trained(model: Any) -> list[Any]:
        return [p for p in model.parameters() if p.requires_grad]

    # r = 256 makes every matrix large enough for bitsandbytes to keep its states in 8 bits, as a real model's are.
    ours, theirs = (build(tiny_model, "r=256")[0] for _ in range(2))
    options = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
    pairs = [
        (ours, build_flat_optimizer(trained(ours), **options)),
        (theirs, PagedAdamW8bit(trained(theirs), **options)),
    ]
    for model, optimizer in pairs:
        for _ in range(3):
            losses_and_gradients(model)
            optimizer.step()
            optimizer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(trained(ours), trained(theirs), strict=True))
    save_adapter(ours, tmp_path / "flat")
    save_adapter(theirs, tmp_path / "plain")
    flat, plain = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("flat", "plain"))
    assert flat.keys() == plain.keys() and all(torch.equal(flat[name], plain[name]) for name in plain)


def test_a_whole_run_with_the_kernels_has_the_history_of_one_without(selection: Path, tmp_path: Path) -> None:
    from finetune.cli import main
    from finetune.run.record import read_run
    from tests.finetune.conftest import QUICK

    histories = []
    for kernels in ("true", "false"):
        out = tmp_path / kernels
        command = ["run", "--selection", str(selection), "--out", str(out), "--track", "none", *QUICK]
        assert main([*command, "max_steps=4", f"kernels={kernels}"]) == 0
        histories.append(read_run(out).history)
    for ours, theirs in zip(*histories, strict=True):
        for name in ("train_loss", "eval_loss"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4)
    assert histories[0][-1]["eval_loss"] < histories[0][0]["eval_loss"]


def test_a_model_fresh_from_loading_trains_in_every_module(tiny_model: Path) -> None:
    # PEFT's wrapper starts in training mode around a base in eval mode. Without an evaluation before the first step,
    # as in a resumed run, nothing would switch the layers, and dropout would stay off.
    config = load_config(None, overrides=["device=cpu", "lora_dropout=0.5", "kernels=true"], model=str(tiny_model))
    model = attach_adapter(load_base_model(config), config)
    assert accelerate_model(model, config, torch.float32) is None
    for mode in (True, False, True):
        assert all(module.training == mode for module in model.train(mode).modules())
