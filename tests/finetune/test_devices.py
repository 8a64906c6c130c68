"""Where a run can compute: what Apple's GPU lacks is said before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from curate.errors import UsageError, UserError
from finetune.cli import main
from finetune.config import RunConfig, load_config
from finetune.memory.eligibility import kernel_obstacle, place_here
from finetune.memory.shapes import load_shape
from finetune.model import resolve_device, resolve_dtype


@pytest.mark.parametrize("asked", [[], ["load_in_4bit=false", "optim=paged_adamw_8bit"], ["kernels=true"]])
def test_mps_refuses_what_it_has_not(asked: list[str]) -> None:
    with pytest.raises(
        UsageError, match="device mps has neither 4-bit weights nor the paged optimizer nor the kernels"
    ):
        load_config("smollm2-360m" if asked else "llama2-7b", overrides=["device=mps", *asked])


def test_mps_computes_in_float32_without_kernels_and_its_absence_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config("smollm2-360m", overrides=["device=mps"])
    assert resolve_dtype(config.dtype, "mps") == "float32"
    assert kernel_obstacle(config, load_shape(config.model), place_here("mps", "float32"), []) == "there is no GPU"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        UserError, match="Apple's GPU was asked for .device: mps., and torch finds none. Set device=cpu."
    ):
        resolve_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps") == "mps"


def test_on_rocm_the_kernels_stand_aside_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    config = load_config("llama2-7b")
    obstacle = kernel_obstacle(config, load_shape(config.model), place_here("cuda", "bfloat16"), [])
    assert obstacle == "they are for CUDA; on ROCm transformers computes"


def test_options_that_came_later_do_not_change_the_digest_of_a_run_without_them(made_selection: Path) -> None:
    from curate.artifact import digest_json
    from curate.selection.record import read_selection
    from finetune.run.record import ADDED, run_digest

    selection = read_selection(made_selection)
    earlier = {name: value for name, value in RunConfig().model_dump().items() if name not in ADDED}
    assert run_digest(RunConfig(), selection) == digest_json([earlier, selection.digest])
    assert run_digest(RunConfig(use_rslora=True), selection) != run_digest(RunConfig(), selection)


def test_a_dora_run_trains_and_says_why_the_kernels_are_off(
    made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors import safe_open

    from tests.finetune.conftest import QUICK

    words = ["run", "--selection", str(made_selection), *QUICK, "max_steps=2", "use_dora=true"]
    assert main([*words, "kernels=true", "--out", str(tmp_path / "a")]) == 1
    assert "The kernels do not work here: DoRA scales what the adapters add" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    assert "transformers computes, without the kernels: DoRA scales what" in capsys.readouterr().err
    with safe_open(tmp_path / "b" / "adapter" / "adapter_model.safetensors", "pt") as file:
        assert any("lora_magnitude_vector" in name for name in list(file.keys()))
