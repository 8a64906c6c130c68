"""`finetune merge` and `push`: what a run is made into."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.cli import main
from finetune.run_record import read_run
from tests.finetune.conftest import QUICK


@pytest.fixture(scope="module")
def trained(made_selection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished 4-bit run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    arguments = ["run", "--selection", str(made_selection), "--out", str(folder), "--wandb", "off", *QUICK]
    assert main([*arguments, "load_in_4bit=true"]) == 0
    return folder


def test_the_merged_model_loads_alone_and_writes_the_adapters_greedy_text(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert main(["merge", str(trained), "--out", str(tmp_path / "m"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["same_text"], told["compared"], told["dtype"]) == (4, 4, "bfloat16")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert str(next(model.parameters()).dtype) == "torch.bfloat16"
    assert not hasattr(model.config, "quantization_config")
    assert AutoTokenizer.from_pretrained(tmp_path / "m").eos_token_id is not None
    assert not list((tmp_path / "m").glob("*.bin"))


def test_merging_adds_the_adapter_to_the_weights_it_was_trained_on(trained: Path, tmp_path: Path) -> None:
    import torch

    from finetune.model import load_base_model, load_run, merge_adapter

    run = read_run(trained)
    tuned, tokenizer = load_run(trained)
    ids = tokenizer("sort a list\n", return_tensors="pt")["input_ids"]
    merged = merge_adapter(load_base_model(run.config), run.adapter_dir)
    with torch.no_grad():
        assert float((tuned(ids).logits - merged(ids).logits).abs().max()) <= 1e-5


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--dtype", "float8"], 2, '--dtype is "float8".'),
        (["--out", "."], 1, ". already exists."),
    ],
)
def test_bad_input_of_merge_is_one_line(
    trained: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    assert main(["merge", str(trained), *arguments]) == code
    assert sentence in capsys.readouterr().err


def test_push_is_refused_where_nobody_could_load_the_base_model(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", "me/adapter", "--run", str(trained)]) == 1
    assert "which nobody could load from the hub" in capsys.readouterr().err


def test_push_uploads_the_adapter_and_the_card(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    from finetune.merge import push

    calls: list[tuple[str, Any]] = []

    class Api:
        def create_repo(self, name: str, **more: Any) -> None:
            calls.append(("create", (name, more["private"])))

        def upload_folder(self, **more: Any) -> None:
            calls.append(("folder", sorted(path.name for path in more["folder_path"].iterdir())))

        def upload_file(self, **more: Any) -> str:
            calls.append(("file", more["path_in_repo"]))
            return f"https://hub/{more['repo_id']}/blob/main/README.md"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    run = read_run(trained)
    real: Any = SimpleNamespace(
        config=SimpleNamespace(model="meta-llama/Llama-2-7b-hf"), adapter_dir=run.adapter_dir, path=run.path
    )
    assert push(real, "me/adapter") == "https://hub/me/adapter"
    assert calls == [
        ("create", ("me/adapter", True)),
        ("folder", ["adapter_config.json", "adapter_model.safetensors"]),
        ("file", "README.md"),
    ]
