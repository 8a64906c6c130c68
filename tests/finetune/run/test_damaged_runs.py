"""A run's files and checkpoints: named when damaged, given back where a copy is left, never used as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from curate.artifact import digest_file
from curate.cli import main as curate
from curate.errors import UserError
from curate.selection.record import read_selection
from evaluate_suite.cli import main as evalsuite
from finetune.cli import main
from finetune.config import load_config
from finetune.run.checkpoints import latest_checkpoint
from finetune.run.history_lines import read_unfinished
from tests.finetune.conftest import QUICK


@pytest.fixture(scope="module")
def trained(made_selection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six steps."""
    folder = tmp_path_factory.mktemp("trained") / "r"
    assert main(["run", "--selection", str(made_selection), "--out", str(folder), "--track", "none", *QUICK]) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "r"))


def test_every_bad_file_of_a_run_is_named_and_a_whole_run_is_called_whole(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "checkpoints" / "checkpoint-6", run / "checkpoints" / "checkpoint-6 (copy)")
    assert latest_checkpoint(run / "checkpoints") == run / "checkpoints" / "checkpoint-6"
    assert main(["verify", str(run)]) == 0
    assert capsys.readouterr().out.startswith(f"{run} is whole: ")
    (run / "README.md").write_text("mine")
    (run / "adapter" / "adapter_config.json").unlink()
    (newest,) = (run / "checkpoints").glob("checkpoint-6")
    (newest / "optimizer.pt").write_bytes(b"")
    assert main(["verify", str(run)]) == 1
    told = capsys.readouterr()
    assert f"{run / 'README.md'} is not the file its manifest describes." in told.out
    assert f"{run / 'adapter' / 'adapter_config.json'} is missing." in told.out
    assert f"{newest / 'optimizer.pt'} is not as it was when checkpoint-6 was complete." in told.out
    assert "error: 3 bad file(s): " in told.err
    edited = json.loads((run / "manifest.json").read_text())
    edited["config"]["tokens_seen"] += 1
    (run / "manifest.json").write_text(json.dumps(edited))
    assert main(["verify", str(run), "--json"]) == 1
    damaged = json.loads(capsys.readouterr().out)["artifacts"][0]["damaged"]
    assert {"file": str(run / "manifest.json"), "problem": "was changed after it was written"} in damaged


def test_a_finished_run_gets_back_what_its_checkpoints_and_its_manifest_hold(
    run: Path, made_selection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("adapter/adapter_model.safetensors", "history.jsonl", "timings.jsonl", "config.yaml", "README.md")
    before = [digest_file(run / name) for name in names]
    for name in names:
        (run / name).write_text("spoiled")
    command = ["run", "--selection", str(made_selection), "--out", str(run), "--track", "none", *QUICK]
    assert main(command) == 0
    told = capsys.readouterr().err
    for name, digest in zip(names, before, strict=True):
        assert digest_file(run / name) == digest, name
        assert f"{run / name} is not the file its manifest describes. It was made again" in told
    assert (run / "history.jsonl.changed").read_text() == "spoiled"
    shutil.rmtree(run / "checkpoints")
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    assert main(command) == 1
    assert f"Remove {run} and train it again." in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "rng_state.pth", "history.jsonl", "complete", "../best-6/adapter_config.json"]
)
@pytest.mark.parametrize("change", ["deleted", "emptied"])
def test_a_checkpoint_that_does_not_fit_its_marker_is_passed_over_for_the_one_before(
    run: Path, capsys: pytest.CaptureFixture[str], name: str, change: str
) -> None:
    folder = run / "checkpoints"
    newest = latest_checkpoint(folder)
    assert newest == folder / "checkpoint-6"
    path = newest / name
    if change == "deleted" and name != "complete":
        path.unlink()
    else:
        path.write_bytes(b"")
    assert latest_checkpoint(folder) == folder / "checkpoint-4"
    assert f"Passing over {newest}: its files are not those that were written." in capsys.readouterr().err


def test_the_settings_of_another_run_beside_a_runs_checkpoints_are_refused(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("run_digest: ", "run_digest: 0"))
    with pytest.raises(UserError, match=r"checkpoint-4 is of another run than .*config.yaml"):
        latest_checkpoint(run / "checkpoints")


@pytest.mark.parametrize("name", ["max_grad_norm", "learning_rate", "weight_decay", "lora_dropout", "lora_alpha"])
@pytest.mark.parametrize("value", [".inf", ".nan", "-.inf"])
def test_a_setting_that_is_no_finite_number_is_refused(name: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"The config has 1 problem\(s\): {name} is (inf|nan|-inf)"):
        load_config(None, None, [f"{name}={value}"])


@pytest.mark.parametrize("setting", ["early_stopping_patience=true", "max_steps=yes", "lora_dropout=off"])
def test_yes_and_no_are_no_numbers(setting: str) -> None:
    """YAML reads them as true and false, which were taken for 1 and 0: a run of one step."""
    with pytest.raises(UserError, match=f"{setting.partition('=')[0]} is (True|False): .*a number is wanted"):
        load_config("cpu-demo", overrides=[setting])


def test_a_line_that_no_run_wrote_is_named_with_its_number(tmp_path: Path) -> None:
    line = '{"step": 1, "train_loss": 2.0, "eval_loss": null}\n'
    for wrong, sentence in (
        (line, "step 1 after step 1"),
        ('{"step": 2, "train_loss": "low", "eval_loss": null}\n', "train_loss: Input should be a valid number"),
        ('{"step": 2, "train_loss": NaN, "eval_loss": null}\n', "NaN is not JSON"),
        ('{"step": 2, "eval_loss": null}\n', "train_loss: Field required"),
    ):
        (tmp_path / "history.jsonl").write_text(line + wrong)
        with pytest.raises(UserError, match=f"history.jsonl:2: .*{sentence}"):
            read_unfinished(tmp_path)
    (tmp_path / "history.jsonl").write_text(line + '{"step": 2, "train_loss": "nan", "eval_loss": null}\n{"step": 3,')
    assert [point["step"] for point in read_unfinished(tmp_path)] == [1, 2]  # a run that diverged; a torn end


def test_a_row_edited_by_hand_is_refused_with_the_command_that_makes_it_a_selection_of_its_own(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = selection / "selected.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["output"] = "print('mine')"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["run", "--selection", str(selection), "--out", str(tmp_path / "r"), *QUICK]) == 1
    told = capsys.readouterr().err
    assert f"{path} is not the file its manifest describes." in told
    command = told.partition("make it a selection of its own: curate ")[2].split()
    assert curate(command) == 0
    own = read_selection(Path(f"{selection}-edited"))
    assert [row.output for row in own.selected] == [row["output"] for row in rows]


def test_other_weights_under_the_path_of_the_base_model_are_refused_by_all_that_would_use_them(
    run: Path, tiny_model: Path, made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tiny_model / "model.safetensors"
    whole = weights.read_bytes()
    again = ["run", "--selection", str(made_selection), "--out", str(run), "--track", "none", *QUICK]
    resume = ["run", "--resume", str(run), "--track", "none"]
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        commands = [(main, ["verify", str(run)]), (main, again), (main, resume)]
        commands += [(main, ["merge", str(run), "--out", str(tmp_path / "m")])]
        commands += [(main, ["export", str(run), "--gguf", "--out", str(tmp_path / "g")])]
        commands += [(evalsuite, ["report", str(run), "--out", str(tmp_path / "p")])]
        for program, words in commands:
            assert program(words) == 1
            told = capsys.readouterr()
            assert f"{tiny_model} is not the model that r was trained on" in told.out + told.err
        (run / "manifest.json").unlink()
        assert main(resume) == 1
        assert f"{tiny_model} is not the model that r was trained on" in capsys.readouterr().err
    finally:
        weights.write_bytes(whole)
    assert main(resume) == 0
    assert main(["verify", str(run)]) == 0


@pytest.mark.parametrize("words", [["merge"], ["export", "--gguf"], ["try", "--prompt", "x"]])
def test_an_adapter_of_another_training_is_not_handed_out(
    run: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = run / "adapter" / "adapter_model.safetensors"
    adapter.write_bytes((run / "checkpoints" / "checkpoint-4" / adapter.name).read_bytes())
    assert main([*words, str(run)]) == 1
    assert f"{adapter} is not the file its manifest describes" in capsys.readouterr().err


def test_a_tokenizer_that_was_changed_since_is_refused_by_all_that_would_use_it(
    run: Path, tiny_model: Path, made_selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny_model / "tokenizer.json"
    whole = file.read_text(encoding="utf-8")
    changed = json.loads(whole)
    vocabulary = changed["model"]["vocab"]
    first, second = list(vocabulary)[300:302]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    said = f"The tokenizer of {tiny_model} is not the one that the selection s was counted with: it was changed since."
    try:
        file.write_text(json.dumps(changed), encoding="utf-8")
        for program, words in (
            (main, ["merge", str(run), "--out", str(tmp_path / "m")]),
            (
                main,
                ["run", "--selection", str(made_selection), "--out", str(tmp_path / "n"), "--track", "none", *QUICK],
            ),
            (evalsuite, ["report", str(run), "--out", str(tmp_path / "p")]),
        ):
            assert program(words) == 1
            assert said in capsys.readouterr().err
    finally:
        file.write_text(whole, encoding="utf-8")
