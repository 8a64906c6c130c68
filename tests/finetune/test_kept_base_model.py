"""A base model that stays loaded: runs that share it are the runs that load it themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curate.artifact import digest_file
from curate.selection.record import read_selection
from finetune import model as models
from finetune.config import load_config
from finetune.model import base_model_kept, forget_base_model, load_base_model
from finetune.recipe import train
from tests.finetune.conftest import QUICK, made_selection, tiny_model  # noqa: F401

PLAIN = ["kernels=false"]
FOUR_BIT = ["load_in_4bit=true", "kernels=true", "dtype=bfloat16"]


def adapter(config: Any, selection: Path, out: Path) -> str:
    run = train(config, read_selection(selection), out)
    return digest_file(run.adapter_dir / "adapter_model.safetensors")


@pytest.mark.parametrize("settings", [PLAIN, FOUR_BIT], ids=["plain", "4-bit with kernels"])
def test_runs_that_share_a_kept_base_model_are_those_that_load_it(
    settings: list[str],
    made_selection: Path,  # noqa: F811
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs = [
        load_config(None, model=str(tiny_model), overrides=[*QUICK, *settings, "max_steps=2", f"seed={seed}"])
        for seed in (0, 1)
    ]
    alone = [adapter(config, made_selection, tmp_path / f"alone-{config.seed}") for config in configs]
    read, loads = models._read_base_model, []
    monkeypatch.setattr(models, "_read_base_model", lambda *words: loads.append(words) or read(*words))
    shared = []
    for config in configs:
        with base_model_kept():
            shared.append(adapter(config, made_selection, tmp_path / f"shared-{config.seed}"))
    assert shared == alone
    assert len(loads) == 1
    forget_base_model()
    load_base_model(configs[0])
    assert len(loads) == 2


def test_what_is_put_into_one_copy_does_not_reach_the_next(tiny_model: Path) -> None:  # noqa: F811
    config = load_config(None, model=str(tiny_model), overrides=[*QUICK, *PLAIN])
    with base_model_kept():
        first = load_base_model(config)
        models.attach_adapter(first, config)
        second = load_base_model(config)
    forget_base_model()
    assert any("lora_" in name for name, _ in first.named_parameters())
    assert not any("lora_" in name for name, _ in second.named_parameters())
    assert second.model.embed_tokens.weight is first.model.embed_tokens.weight
