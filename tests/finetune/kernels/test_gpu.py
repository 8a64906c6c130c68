"""What only a card can show: float16 without overflow, resuming to the bit, several GPUs. Skipped, aloud, elsewhere."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from curate.artifact import digest_file
from curate.selection.record import read_selection
from finetune.cli import main
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK, build_tiny
from tests.finetune.run.test_resume import interrupt_at
from tests.finetune.test_run import largest_difference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU HERE: float16, bit-exact resume, DDP not shown"),
]
ON_GPU = [setting for setting in QUICK if setting not in ("device=cpu", "load_in_4bit=false")] + ["device=cuda"]


def run(selection: Path, out: Path, *more: str) -> int:
    return main(["run", "--selection", str(selection), "--out", str(out), "--track", "none", *ON_GPU, *more])


def test_float16_trains_with_float32_adapters_and_does_not_overflow(selection: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    assert run(selection, tmp_path / "half", "dtype=float16", "gradient_checkpointing=true") == 0
    made = read_run(tmp_path / "half")
    assert all(math.isfinite(line["train_loss"]) for line in made.history[1:])
    assert made.history[-1]["eval_loss"] < made.history[0]["eval_loss"]
    weights = load_file(made.adapter_dir / "adapter_model.safetensors").values()
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert all(bool(weight.isfinite().all()) for weight in weights)


def build_wide(selection: Path, folder: Path) -> Path:
    """A random model whose heads are wide enough for the kernels, with the selection's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(read_selection(selection).manifest.config["model"])
    wide = LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    build_tiny(folder, wide)
    return folder


@pytest.mark.parametrize("kernels", ["false", "true"])
@pytest.mark.parametrize("dropout", ["0.0", "0.1"])
def test_a_stopped_run_goes_on_to_the_same_bytes_in_deterministic_mode(
    selection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropout: str, kernels: str
) -> None:
    model = build_wide(selection, tmp_path / "wide")
    settings = [
        "deterministic=true", f"lora_dropout={dropout}", f"kernels={kernels}", f"model={model}", "dtype=bfloat16",
        "learning_rate=1e-3",
    ]  # fmt: skip
    assert run(selection, tmp_path / "whole", *settings) == 0
    with monkeypatch.context() as patched:
        interrupt_at(3, patched)
        assert run(selection, tmp_path / "r", *settings) == 130
    assert main(["run", "--resume", str(tmp_path / "r"), "--track", "none"]) == 0
    for name in ("history.jsonl", "adapter/adapter_model.safetensors"):
        assert digest_file(tmp_path / "whole" / name) == digest_file(tmp_path / "r" / name)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="ONE GPU: several are not shown")
def test_two_gpus_train_the_run_that_one_does(selection: Path, tmp_path: Path) -> None:
    for gpus in ("1", "2"):
        assert run(selection, tmp_path / gpus, "--gpus", gpus, "dtype=float32", "optim=adamw_torch") == 0
    one, two = (read_run(tmp_path / gpus).history for gpus in ("1", "2"))
    assert [line["eval_loss"] for line in one] == pytest.approx([line["eval_loss"] for line in two], abs=1e-4)
    assert largest_difference(tmp_path / "1", tmp_path / "2") <= 1e-3


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="ONE GPU: several are not shown")
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_gpus_with_the_kernels_train_the_run_that_one_does(way: str, selection: Path, tmp_path: Path) -> None:
    """Under fsdp the packed bytes are gathered as they are: before the first step losses are the same to the bit."""
    model = build_wide(selection, tmp_path / "wide")
    for gpus, parallel in (("1", "ddp"), ("2", way)):
        settings = [f"model={model}", "dtype=bfloat16", "kernels=true", "learning_rate=1e-3"]
        assert run(selection, tmp_path / gpus, "--gpus", gpus, "--parallel", parallel, *settings) == 0
    one, two = (read_run(tmp_path / gpus).history for gpus in ("1", "2"))
    assert one[0]["eval_loss"] == two[0]["eval_loss"]
    assert one[-1]["eval_loss"] < one[0]["eval_loss"] - 0.01
    assert [line["eval_loss"] for line in one] == pytest.approx([line["eval_loss"] for line in two], abs=5e-3)
