"""`finetune push`: what goes to the hub, with which figures, and what is only shown."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate.artifact import record_file, write_manifest
from finetune.cli import main
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK
from tests.hub_server import WRITER, Hub, running_hub
from tests.manifests import edit_manifest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def trained(made_selection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished 4-bit run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    arguments = ["run", "--selection", str(made_selection), "--out", str(folder), "--track", "none", *QUICK]
    assert main([*arguments, "load_in_4bit=true"]) == 0
    return folder


def test_push_is_refused_where_nobody_could_load_the_base_model(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", "me/adapter", "--run", str(trained)]) == 1
    assert "which nobody could load from the hub" in capsys.readouterr().err
    elsewhere = shutil.copytree(trained, tmp_path / "run")  # the folder named from where the training was started
    edit_manifest(elsewhere, lambda manifest: manifest["config"].update(model="models/tiny"))
    assert main(["push", "me/adapter", "--run", str(elsewhere), "--dry-run"]) == 1
    assert "The base model is models/tiny, which nobody could load from the hub" in capsys.readouterr().err


@pytest.fixture
def hub_run(trained: Path, tmp_path: Path) -> Path:
    """The run as it would be had its base model come from the hub."""
    folder = Path(shutil.copytree(trained, tmp_path / "hub-run"))
    edit_manifest(folder, lambda manifest: manifest["config"].update(model="meta-llama/Llama-2-7b-hf"))
    edit_manifest(folder, lambda manifest: manifest["config"].pop("base_model_digest"))
    return folder


def push(hub: Hub, run: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """`finetune push` in a process of its own: the hub's client reads its address when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "a-token", "HF_HUB_OFFLINE": "0"}
    return subprocess.run(
        [sys.executable, "-m", "finetune.cli", "push", name, "--run", str(run), *more],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.long
def test_push_uploads_the_adapter_and_the_card_and_nothing_else(hub_run: Path) -> None:
    with running_hub() as hub:
        done = push(hub, hub_run, f"{WRITER}/adapter")
        assert (done.returncode, done.stdout.strip()) == (0, f"{hub.url}/{WRITER}/adapter"), done.stderr
        pushed = hub.repositories["models", f"{WRITER}/adapter"]
        assert hub.visibility == {f"{WRITER}/adapter": "private"}
        expected = [hub_run / "README.md", *(hub_run / "adapter").iterdir()]
        files = {name: data for name, data in pushed.files.items() if name != ".gitattributes"}
        assert files == {path.name: path.read_bytes() for path in expected}
        refused = push(hub, hub_run, "somebody-else/adapter", "--public")
    assert refused.returncode == 1
    told = refused.stderr.strip().splitlines()[-1]
    assert told.startswith("error: The hub did not take somebody-else/adapter")
    assert told.endswith("Check the name and what the token may do.")


def test_push_without_a_token_says_how_to_get_one(
    hub_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("finetune.export.hub_upload.get_token", lambda: None)
    assert main(["push", "me/adapter", "--run", str(hub_run)]) == 1
    assert "There is no token for the hub. Run `hf auth login`" in capsys.readouterr().err


CONFIG = {"headline": "It helped.", "second": "", "facts": [], "runs": ["a"], "report_digest": "0"}


def write_report(folder: Path, run: Path, digest: str | None = None, tasks: int = 0) -> Path:
    """A report as `evalsuite report` leaves it, with what a push reads of it."""
    recorded = read_run(run).manifest.config
    figure = {"value": 0.5, "low": 0.41, "high": 0.58, "n": 164, "unscored": 0, "reason": None}
    one = {
        "name": "anything", "tuned_loss": {**figure, "value": 1.25}, "base_loss": {**figure, "value": 2.0},
        "gain": {**figure, "value": 0.75}, "metrics": {"passes_tests": figure, "chrf": {"value": None, "n": 0}},
        "digests": {"run": digest or recorded["run_digest"], "selection": recorded["selection_digest"]},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"schema": "evaluate_suite.report/1", "runs": [one]}))
    lines = [json.dumps({"task_id": f"HumanEval/{n}", "model": "base"}) for n in range(tasks)]
    (folder / "executions.jsonl").write_text("".join(f"{line}\n" for line in lines))
    outputs = [record_file(folder, name) for name in ("report.json", "executions.jsonl")]
    write_manifest(
        folder, kind="evaluate_suite.report", command=[], config=CONFIG, seed=None, inputs=[],
        outputs=outputs, counts={}, seconds={},
    )  # fmt: skip
    return folder


def card_of(run: Path, report: Path | None, tmp_path: Path) -> tuple[dict[str, Any], str, dict[str, Any]]:
    from finetune.export.hub_upload import plan_upload

    files = plan_upload(read_run(run), "me/a", True, None if report is None else str(report)).files
    text = files["README.md"].decode()
    return yaml.safe_load(text.split("---")[1]), text, files


def test_a_card_has_the_reports_figures_with_interval_size_and_the_selections_digest(
    hub_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(tmp_path / "reports" / "older", hub_run, digest="of another run")
    report = write_report(tmp_path / "reports" / "three-runs", hub_run, tasks=164)
    digest = read_run(hub_run).manifest.config["selection_digest"]
    front, text, files = card_of(hub_run, None, tmp_path)
    (result,) = front["model-index"][0]["results"]
    metrics = {each["type"]: each for each in result["metrics"]}
    assert list(metrics) == ["eval_loss", "base_model_eval_loss", "eval_loss_gain", "passes_tests"]
    assert metrics["eval_loss"]["value"] == 1.25
    assert metrics["passes_tests"]["args"] == {"low": 0.41, "high": 0.58, "n": 164, "interval": 0.95}
    assert result["dataset"]["args"] == {"selection_digest": digest}
    assert front["library_name"] == "peft"
    assert "| passes tests | 0.5 | 0.41 to 0.58 | 164 |" in text
    assert yaml.safe_load(files[".eval_results/openai_humaneval.yaml"]) == [
        {
            "dataset": {"id": "openai/openai_humaneval", "task_id": "openai_humaneval"},
            "value": 50.0,
            "notes": "pass@1 in percent, greedy; 95% interval 41 to 58, n = 164; "
            f"trained on the selection {digest[:8]}",
        }
    ]
    assert "report `three-runs`" in card_of(hub_run, report, tmp_path)[1]


def test_part_of_a_benchmark_and_no_report_give_no_result_files(
    hub_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    front, text, _ = card_of(hub_run, None, tmp_path)
    assert "model-index" not in front
    assert text == (hub_run / "README.md").read_text()
    part = write_report(tmp_path / "part", hub_run, tasks=20)
    assert not any(name.startswith(".eval_results") for name in card_of(hub_run, part, tmp_path)[2])
    other = write_report(tmp_path / "other", hub_run, digest="of another run")
    assert main(["push", "me/a", "--run", str(hub_run), "--dry-run", "--report", str(other)]) == 1
    assert f"has no run {hub_run.name} as it is now" in capsys.readouterr().err


def test_a_dry_run_shows_every_file_and_asks_nobody(
    hub_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.export.hub_upload.HfApi", None)
    monkeypatch.setattr("finetune.export.hub_upload.get_token", None)
    assert main(["push", "me/a", "--run", str(hub_run), "--dry-run", "--json"]) == 0
    shown = capsys.readouterr()
    planned = json.loads(shown.out)
    assert (planned["private"], planned["kind"], planned["address"]) == (True, "model", None)
    assert sorted(planned["files"]) == ["README.md", *sorted(p.name for p in (hub_run / "adapter").iterdir())]
    assert planned["files"]["README.md"] == (hub_run / "README.md").stat().st_size
    assert shown.err.startswith("model me/a, private (one that exists stays as it is)\n  README.md  ")
