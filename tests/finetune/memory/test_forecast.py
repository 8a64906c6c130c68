"""`finetune forecast`: what is counted is what torch would hold, for every preset, with nothing downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import Gemma2PreTrainedModel

from finetune.cli import main
from finetune.config import RunConfig, load_config, preset_names
from finetune.memory.eligibility import kernel_obstacle, place_meant
from finetune.memory.forecast import DEPTHS, forecast
from finetune.memory.shapes import KNOWN, build_empty_model, load_shape, with_layers
from finetune.memory.step_memory import packed_bytes
from finetune.memory.targets import find_targets
from finetune.parallel.layout import Layout

# Published sizes in billions of weights, from the model cards.
PUBLISHED = {
    "meta-llama/Llama-2-7b-hf": 6.738, "meta-llama/Llama-2-13b-hf": 13.016, "meta-llama/Llama-2-70b-hf": 68.977,
    "codellama/CodeLlama-7b-hf": 6.739,
    "mistralai/Mistral-7B-v0.1": 7.242, "Qwen/Qwen2.5-Coder-1.5B": 1.544, "Qwen/Qwen2.5-Coder-7B": 7.616,
    "Qwen/Qwen2.5-Coder-0.5B": 0.494, "Qwen/Qwen2.5-Coder-3B": 3.086, "Qwen/Qwen3-0.6B-Base": 0.596,
    "Qwen/Qwen3-1.7B-Base": 1.721, "Qwen/Qwen3-4B-Base": 4.022, "Qwen/Qwen3-8B-Base": 8.191,
    "meta-llama/Llama-3.1-8B": 8.030, "meta-llama/Llama-3.2-1B": 1.236, "meta-llama/Llama-3.2-3B": 3.213,
    "HuggingFaceTB/SmolLM2-360M": 0.362, "HuggingFaceTB/SmolLM2-1.7B": 1.711, "HuggingFaceTB/SmolLM3-3B-Base": 3.075,
    "mistralai/Mistral-7B-v0.3": 7.248, "google/gemma-3-1b-pt": 1.000,
    "google/gemma-2-2b": 2.614, "openai-community/gpt2": 0.124, "EleutherAI/gpt-j-6b": 6.051, "smollm2-135m": 0.135,
}  # fmt: skip


@pytest.mark.parametrize("model", KNOWN)
def test_a_known_shape_has_the_published_number_of_weights(model: str) -> None:
    weights = sum(p.numel() for p in build_empty_model(load_shape(model)).parameters())
    assert round(weights / 1e9, 3) == PUBLISHED[model]


def test_4bit_weights_have_the_size_bitsandbytes_gives_them() -> None:
    from bitsandbytes.functional import quantize_4bit
    from torch import ones

    for rows, columns in ((64, 64), (512, 768)):
        for double in (False, True):
            packed, state = quantize_4bit(ones(rows, columns), quant_type="nf4", compress_statistics=double)
            held = packed.numel() + state.absmax.numel() * state.absmax.element_size()
            held += state.state2.absmax.numel() * 4 if double else 0
            assert packed_bytes(rows * columns, double) == held


def test_depths_between_and_beyond_the_measured_ones_are_forecast_exactly() -> None:
    config = RunConfig(device="cpu", dtype="float32", max_length=64, per_device_train_batch_size=2)
    shape = with_layers(load_shape("smollm2-135m"), 7)
    from finetune.memory import forecast as module

    wide = forecast(config, shape)
    kept = module.DEPTHS
    try:
        module.DEPTHS = (6, 7)
        assert forecast(config, shape).peak_gib == pytest.approx(wide.peak_gib, rel=1e-3)
    finally:
        module.DEPTHS = kept
    assert DEPTHS == (2, 4)


def test_the_forecast_counts_what_a_real_step_holds() -> None:
    """The same counting over a real model on a CPU, unquantised: never less is forecast, and at most a tenth more."""
    import torch
    from transformers import AutoModelForCausalLM

    from finetune.memory.step_memory import peak_bytes, run_step
    from finetune.model import attach_adapter

    shape = with_layers(load_shape("smollm2-135m"), 4)
    shape.vocab_size = 2048
    config = RunConfig(
        device="cpu", dtype="float32", load_in_4bit=False, max_length=96, per_device_train_batch_size=2, r=8
    )
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32, attn_implementation="sdpa")
    model = attach_adapter(model, config).train()
    real = peak_bytes(lambda: run_step(model, config, torch.float32))
    counted = forecast(config, shape).activations_gib * 2**30
    assert real <= counted <= 1.1 * real


def test_more_of_anything_needs_more_and_checkpointing_needs_less() -> None:
    shape = load_shape("meta-llama/Llama-2-7b-hf")
    base = load_config("llama2-7b")

    def peak(**changes: Any) -> float:
        return forecast(base.model_copy(update=changes), shape).peak_gib

    plain = peak()
    for more in ({"per_device_train_batch_size": 8}, {"max_length": 2048}, {"r": 64}, {"load_in_4bit": False}):
        assert peak(**more) > plain
    assert peak(gradient_checkpointing=True) < plain / 2


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_a_forecast_without_a_download(preset: str) -> None:
    config = load_config(preset)
    shape = load_shape(config.model)
    made = forecast(config, shape)
    assert made.peak_gib > made.base_weights_gib > 0
    assert made.trainable_parameters > 0
    targets = find_targets(config, shape)
    adapted_layers = {name.split(".")[2] for name in targets.sizes}
    assert len(adapted_layers) == (10 if preset == "cpu-demo" else shape.num_hidden_layers)
    per_layer = len(targets.sizes) / len(adapted_layers)
    assert per_layer == int(per_layer) >= 2


def test_forecast_knows_steps_and_tokens_of_a_selection(selection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["device=cpu", "max_length=128", "per_device_train_batch_size=1", "eval_steps=5"]
    assert main(["forecast", "--selection", str(selection), "--json", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["steps"], told["seconds"]) == (-(-plan_bins(selection, more) // 2), None)
    assert told["seconds_at_least"] > 0


def plan_bins(selection: Path, more: list[str]) -> int:
    from curate.selection.record import read_selection
    from finetune.batches.packing import pack_examples

    return len(pack_examples([row.token_count for row in read_selection(selection).selected], 128))


def test_an_unknown_shape_is_an_error_with_the_next_step(selection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "--selection", str(selection), "model=nobody/nothing"]) == 1
    assert "The shape of nobody/nothing is not known here" in capsys.readouterr().err


# One batch of 512 tokens through eager attention and a vocabulary of 256,000: 8 % too much, not explained.
TOO_HIGH = [("google/gemma-2-2b", 1, 512)]


@pytest.mark.long
def test_no_forecast_lies_below_a_measured_peak_and_all_but_one_within_a_twentieth() -> None:
    lines = [json.loads(line) for line in (Path(__file__).resolve().parents[3] / "docs" / "speed.jsonl").open()]
    measured = [line for line in lines if "measured_gib" in line]
    assert len(measured) >= 40
    high = []
    for line in measured:
        packing = "best-fit" if line["rows"] == "packed" else "joined"
        eager = line["model"] == "google/gemma-2-2b"
        config = load_config(
            None, model=line["model"],
            overrides=[f"per_device_train_batch_size={line['batch']}", f"max_length={line['length']}",
                       f"r={line['rank']}", f"gradient_checkpointing={str(line['checkpointing']).lower()}",
                       f"kernels={str(line['kernels']).lower()}", f"packing={packing}", "dtype=bfloat16",
                       f"attn_implementation={'eager' if eager else 'sdpa'}"],
        )  # fmt: skip
        peak = forecast(config, load_shape(line["model"])).peak_gib
        assert line["measured_gib"] <= peak, line
        if peak > 1.05 * line["measured_gib"]:
            high.append((line["model"], line["batch"], line["length"]))
    assert high == TOO_HIGH


@pytest.mark.skipif(Gemma2PreTrainedModel._supports_sdpa, reason="this version of transformers has SDPA for Gemma 2")
def test_an_attention_that_the_model_lacks_is_named_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "model=google/gemma-2-2b", "attn_implementation=sdpa"]) == 1
    said = capsys.readouterr().err
    assert "google/gemma-2-2b cannot compute with attn_implementation=sdpa" in said
    assert "attn_implementation=eager" in said


def test_a_damaged_run_elsewhere_does_not_end_a_forecast(selection: Path, own_home: Path) -> None:
    import shutil

    from finetune.run.record import readable_runs
    from tests.finetune.conftest import QUICK

    runs = own_home / "runs"
    command = ["run", "--selection", str(selection), "--out", str(runs / "good"), "--track", "none", *QUICK]
    assert main([*command, "max_steps=1"]) == 0
    shutil.copytree(runs / "good", runs / "bad")
    (runs / "bad" / "history.jsonl").unlink()
    assert [run.path.name for run in readable_runs()] == ["good"]


TINY: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2},
    "mistral": {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1,
                "sliding_window": 256},
    "qwen2": {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1},
    "gpt2": {"n_embd": 64, "n_head": 2},
    "gemma2": {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1,
               "head_dim": 32},
}  # fmt: skip
OF_FAMILIES: list[dict[str, Any]] = [
    {}, {"max_length": 256}, {"max_length": 257}, {"attn_implementation": "eager"}, {"kernels": False},
    {"kernels": "auto"}, {"target_modules": ["embed_tokens", "wte", "q_proj", "c_attn"]},
    {"target_modules": r".*\.1\..*(q_proj|c_attn)"},
]  # fmt: skip


@pytest.mark.parametrize("family", TINY)
def test_run_and_forecast_give_the_same_reason_for_or_against_the_kernels(family: str) -> None:
    """The run is asked with a real model that PEFT adapted, the forecast with a shape."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from curate.errors import UserError
    from finetune.kernels import accelerate_model
    from finetune.model import attach_adapter

    shape = AutoConfig.for_model(family, vocab_size=64, num_hidden_layers=2, **TINY[family])
    for changes in OF_FAMILIES:
        settings = {"device": "cpu", "dtype": "float32", "kernels": True, "load_in_4bit": False, "r": 2} | changes
        config = RunConfig(model="tiny", **settings)
        attention = "eager" if config.attn_implementation == "eager" or family == "gemma2" else "sdpa"
        model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32, attn_implementation=attention)
        model = attach_adapter(model, config)
        adapted = {name for name, module in model.get_base_model().named_modules() if hasattr(module, "lora_A")}
        assert set(find_targets(config, shape).sizes) == adapted
        expected = kernel_obstacle(config, shape, place_meant(config), find_targets(config, shape).sizes)
        try:
            reason = accelerate_model(model, config, torch.float32)
        except UserError as error:
            reason = error.what.partition(": ")[2].removesuffix(".")
        assert reason == expected, (family, changes)


def test_beyond_a_models_window_the_kernels_run_and_the_forecast_counts_them() -> None:
    """Mistral 7B, trained at 8,192 tokens beyond its window of 4,096."""
    shape = load_shape("mistralai/Mistral-7B-v0.1")
    assert shape.sliding_window == 4096
    config = load_config("mistral-7b", overrides=["max_length=8192", "dtype=bfloat16"])
    targets = find_targets(config, shape).sizes
    assert kernel_obstacle(config, shape, place_meant(config), targets) is None
    plain = config.model_copy(update={"kernels": False})
    assert forecast(config, shape) != forecast(plain, shape)


def test_adapters_on_the_last_layers_alone_need_the_activations_of_those_layers_alone() -> None:
    shape = load_shape("smollm2-135m")
    base = RunConfig(model="smollm2-135m", device="cpu", load_in_4bit=False, max_length=64, attn_implementation="sdpa")
    everywhere = forecast(base, shape)
    last_ten = forecast(base.model_copy(update={"target_modules": r".*layers\.2\d\..*_proj"}), shape)
    assert last_ten.trainable_parameters * 3 == everywhere.trainable_parameters
    assert last_ten.activations_gib < 0.6 * everywhere.activations_gib
    assert last_ten.base_weights_gib == pytest.approx(everywhere.base_weights_gib)


# Two H200s, the cases of benchmarks/distributed.py: (way, model, bins of one GPU, length, rank, checkpointing, kernels,
# GiB of each GPU less what an earlier case of the same process had left there).
SHARED_PEAKS = [
    ("ddp", "7b", 8, 1024, 16, False, True, 51.16), ("fsdp", "7b", 8, 1024, 16, False, True, 37.424),
    ("fsdp", "13b", 4, 1024, 16, False, True, 31.81), ("fsdp", "7b", 8, 1024, 16, True, True, 5.794),
    ("fsdp", "13b", 8, 1024, 16, True, True, 9.22), ("fsdp", "7b", 2, 2048, 32, True, True, 4.615),
    ("fsdp", "7b", 4, 512, 64, False, True, 12.361), ("fsdp", "7b", 4, 1024, 16, True, False, 5.028),
    ("fsdp", "13b", 2, 1024, 8, True, False, 5.825),
]  # fmt: skip


@pytest.mark.parametrize("case", SHARED_PEAKS, ids=lambda case: "-".join(map(str, case[:6])))
def test_the_forecast_of_each_of_two_gpus_lies_at_most_a_twentieth_above_its_peak(case: tuple[Any, ...]) -> None:
    way, size, bins, length, rank, checkpointing, kernels, peak = case
    model = f"meta-llama/Llama-2-{size}-hf"
    config = RunConfig(
        model=model, device="cuda", dtype="bfloat16", per_device_train_batch_size=bins, gradient_accumulation_steps=2,
        max_length=length, r=rank, gradient_checkpointing=checkpointing, kernels="auto" if kernels else False,
    )  # fmt: skip
    assert 1.0 <= forecast(config, load_shape(model), layout=Layout(2, way)).peak_gib / peak <= 1.053


def test_a_fourth_of_the_70b_shape_fits_a_card_of_24_gib_and_the_whole_does_not() -> None:
    config = load_config("llama2-70b", overrides=["device=cuda", "dtype=bfloat16"])
    shape = load_shape(config.model)
    alone, one_of_four = (forecast(config, shape, layout=layout).peak_gib for layout in (Layout(), Layout(4, "fsdp")))
    assert (round(alone), round(one_of_four)) == (38, 15)
