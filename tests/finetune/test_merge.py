"""`finetune merge` and `push`, and `padding-study`: what a run is made into, and what batching does to it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.cli import main
from finetune.padding_page import headline
from finetune.padding_study import Arm
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


def test_the_padding_study_trains_six_arms_on_the_same_rows(
    made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [*(s for s in QUICK if not s.startswith("max_steps")), "eval_steps=20"]
    arguments = ["padding-study", "--selection", str(made_selection), "--rows", "12", "--out", str(tmp_path / "s")]
    assert main([*arguments, "--json", *settings]) == 0
    arms = json.loads(capsys.readouterr().out)["arms"]
    assert [arm["name"] for arm in arms[::2]] == ["packed", "right padding", "length-grouped"]
    assert len({arm["tokens"] for arm in arms}) == 1
    for first, second in zip(arms[::2], arms[1::2], strict=True):
        assert first["pad_token"] != second["pad_token"]
        assert first["eval_loss"] == second["eval_loss"]
        assert first["padding_share"] == second["padding_share"]
    packed, padded, grouped = arms[::2]
    assert packed["padding_share"] < 1e-9 or packed["padding_share"] < padded["padding_share"]
    assert grouped["padding_share"] < padded["padding_share"]
    assert packed["interval"] is None
    assert padded["interval"][0] <= padded["loss_difference"] <= padded["interval"][1]
    (folder,) = Path("reports").glob("padding-study-*")
    record = json.loads((folder / "padding-study.json").read_text())
    assert record["arms"] == arms
    page = (folder / "index.html").read_text()
    assert page.count('<th scope="row">right padding</th>') == 2
    assert f"{packed['eval_loss']:.4f}" in page
    assert f'href="{folder.name}/index.html"' in Path("reports/index.html").read_text()


def arm(name: str, pad: str, seconds: float, difference: float | None, interval: tuple[float, float] | None) -> Arm:
    return Arm(name, pad, 3, 900, 0.0 if name == "packed" else 0.25, seconds, 900 / seconds, 2.0, difference, interval)


def test_the_padding_studys_answer_is_computed() -> None:
    arms = [
        arm("packed", "a", 10, None, None),
        arm("packed", "b", 12, 0.0, (0.0, 0.0)),
        arm("right padding", "a", 16, 0.004, (-0.003, 0.011)),
        arm("right padding", "b", 17, 0.004, (-0.003, 0.011)),
    ]
    assert headline(arms) == (
        "Packed batches took 11.0 s, right padding 16.5 s: 1.50 times as long, with 25% padding.",
        "No difference in eval loss was shown between ways of batching or pad tokens; every 95% interval lies within "
        "0.0110 nats a token of 0.",
    )
    worse = [*arms[:3], arm("right padding", "b", 17, 0.02, (0.01, 0.03))]
    assert headline(worse)[1] == (
        "The eval loss differs from packed's in 1 of 3 arms, most with right padding, pad token b: +0.0200 nats a "
        "token (95% interval +0.0100 to +0.0300)."
    )
    assert headline([arm("packed", "a", 9, None, None), arm("right padding", "a", 8, 0.0, (-1.0, 1.0))])[0] == (
        "No way of padding was slower than packed, which took 9.0 s."
    )
