"""`finetune merge`: what a run is made into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.cli import main
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def trained(made_selection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished 4-bit run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    arguments = ["run", "--selection", str(made_selection), "--out", str(folder), "--track", "none", *QUICK]
    assert main([*arguments, "load_in_4bit=true"]) == 0
    return folder


def test_the_merged_model_loads_alone_and_writes_the_adapters_greedy_text(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    command = ["merge", str(trained), "--out", str(tmp_path / "m"), "--json"]
    assert main([*command, "--dtype", "float32"]) == 0  # a random model has near ties, which bfloat16 may turn
    told = json.loads(capsys.readouterr().out)
    assert (told["same_text"], told["compared"], told["dtype"]) == (4, 4, "float32")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert str(next(model.parameters()).dtype) == "torch.float32"
    assert not hasattr(model.config, "quantization_config")
    assert AutoTokenizer.from_pretrained(tmp_path / "m").eos_token_id is not None
    assert not list((tmp_path / "m").glob("*.bin"))


def test_the_merged_model_is_bfloat16_where_nothing_else_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(trained), "--out", str(tmp_path / "m"), "--allow-different-text", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["compared"], told["dtype"]) == (4, "bfloat16")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["dtype"] == "bfloat16"


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


@pytest.mark.long
def test_the_python_lines_of_a_card_work_when_they_are_pasted(trained: Path, tmp_path: Path) -> None:
    """In another folder, in a fresh interpreter, exactly as they stand there but for the path."""
    lines = (trained / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert lines.count("\n") == 3
    lines = lines.replace(f"path/to/{trained.name}", str(trained))
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Write a Python function that reverses a string.\n")
    assert len(done.stdout) > len("Write a Python function that reverses a string.\n\n")


def test_a_merge_that_meets_a_full_disk_leaves_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    from transformers import PreTrainedTokenizerBase

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", full)
    assert main(["merge", str(trained), "--out", str(tmp_path / "m" / "merged")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize("targets", ["[embed_tokens,q_proj]", "[embed_tokens]"])
def test_an_adapter_on_tied_embeddings_is_merged_into_a_model_whose_weights_are_untied(
    made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], targets: str
) -> None:
    """Added to the shared weights it would change the output layer too, which makes another model."""
    import torch

    from finetune.model import load_merged, load_run

    arguments = ["run", "--selection", str(made_selection), "--out", str(tmp_path / "r"), "--track", "none", *QUICK]
    assert main([*arguments, "learning_rate=2e-2", f"target_modules={targets}"]) == 0
    capsys.readouterr()
    assert main(["merge", str(tmp_path / "r"), "--dtype", "float32", "--out", str(tmp_path / "m"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same_text"] == 4
    tuned, tokenizer = load_run(tmp_path / "r")
    ids = tokenizer("sort a list\n", return_tensors="pt")["input_ids"]
    merged = load_merged(tmp_path / "m", read_run(tmp_path / "r").config)
    with torch.no_grad():
        assert float((tuned(ids).logits - merged(ids).logits).abs().max()) <= 1e-5
    assert json.loads((tmp_path / "m" / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_merged_model_that_writes_another_text_is_not_kept(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = iter([["a", "b", "c", "d"], ["a", "b", "c", "x"]] * 2)
    monkeypatch.setattr("finetune.export.merged_model.greedy_texts", lambda *_: next(texts))
    command = ["merge", str(trained), "--out", str(tmp_path / "m" / "merged")]
    assert main(command) == 1
    assert "writes the adapter's greedy text on 3 of 4 held-out prompts; it was not kept" in capsys.readouterr().err
    assert list((tmp_path / "m").iterdir()) == []
    assert main([*command, "--allow-different-text"]) == 0
    assert (tmp_path / "m" / "merged" / "config.json").is_file()


def test_an_adapter_on_the_output_layer_is_refused_before_training(
    made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--selection", str(made_selection), "--out", str(tmp_path / "r"), "--track", "none", *QUICK]
    assert main([*arguments, "target_modules=[lm_head]"]) == 1
    assert "put an adapter on the output layer, which TRL does not train" in capsys.readouterr().err
