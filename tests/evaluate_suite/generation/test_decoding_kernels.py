"""What decoding does otherwise on a GPU, beside what torch, PEFT and one prompt at a time compute."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
import torch

from evaluate_suite.generation.engines import generate
from evaluate_suite.generation.plain_lora import PlainAdapter
from evaluate_suite.generation.record import DecodingSettings
from tests.evaluate_suite.generation.test_generation import NumberTokenizer, build_model, make_tasks

CUDA = torch.cuda.is_available()


def adapted(device: str = "cpu") -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(build_model("llama"), lora).to(device).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(3, 20)[None]).logits
    return found


def test_adapted_layers_compute_what_peft_computes_and_are_put_back() -> None:
    model = adapted()
    expected = logits(model)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.lora_dropout = None  # PEFT's own way through the layer would fail on it
    with PlainAdapter(model) as plain:
        assert len(plain.layers) == 14
        torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="NoneType"):
        logits(model)


def test_an_adapter_that_is_switched_off_or_merged_is_left_alone() -> None:
    model = adapted()
    with model.disable_adapter():
        assert PlainAdapter(model).layers == []
    model.merge_adapter()
    assert PlainAdapter(model).layers == []
    model.unmerge_adapter()
    assert len(PlainAdapter(model).layers) == 14


@pytest.mark.skipif(
    not CUDA and os.environ.get("TRITON_INTERPRET") != "1", reason="NO GPU HERE, nor triton with TRITON_INTERPRET=1"
)
@pytest.mark.parametrize("heads", [2, 4])
def test_a_step_attends_to_its_own_row_up_to_its_own_length(heads: int) -> None:
    import torch.nn.functional as F

    from evaluate_suite.generation.slot_kernels import attend_step, store_step

    device = "cuda" if CUDA else "cpu"
    rows, width, capacity = 5, 32, 200
    positions = torch.tensor([0, 1, 63, 64, 199], device=device)
    torch.manual_seed(0)
    q = torch.randn(rows, 4, 1, width, device=device)
    keys, values = torch.randn(2, rows, heads, capacity, width, device=device)
    before = keys.clone()
    new = torch.randn(2, rows, 1, heads, width, device=device).transpose(2, 3)
    store_step(new[0], new[1], keys, values, positions)
    out = attend_step(q, keys, values, positions, width**-0.5)
    for row, position in enumerate(positions.tolist()):
        assert torch.equal(keys[row, :, position], new[0, row, :, 0])
        assert torch.equal(values[row, :, position], new[1, row, :, 0])
        before[row, :, position] = new[0, row, :, 0]
        own = (x[row : row + 1, :, : position + 1] for x in (keys, values))
        expected = F.scaled_dot_product_attention(q[row : row + 1], *own, enable_gqa=True)
        torch.testing.assert_close(out[row, 0], expected[0, :, 0], rtol=1e-5, atol=1e-5)
    assert torch.equal(keys, before)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="NO GPU HERE: decoding with kernels and CUDA graphs not shown")
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_on_a_gpu_a_batch_gives_the_text_of_one_prompt_at_a_time(batch_size: int) -> None:
    model, tasks, settings = adapted("cuda"), make_tasks(), DecodingSettings(max_new_tokens=30)
    alone = [generate(model, NumberTokenizer(), [task], settings, engine="plain")[0] for task in tasks]
    batched = generate(model, NumberTokenizer(), tasks, replace(settings, batch_size=batch_size), engine="slots")
    assert batched == alone
