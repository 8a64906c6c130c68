"""`evalsuite report` from finished runs of a tiny model to a page; and every way in which it must refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluate_suite.cli import main as evalsuite
from evaluate_suite.reporting.findings import leak_notes
from evaluate_suite.reporting.models import ReportModels
from evaluate_suite.reporting.recipe import read_report
from finetune.cli import main as finetune
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK, made_selection, tiny_model  # noqa: F401
from tests.manifests import edit_manifest, sign_files

PROMPTS = [
    {"prompt_id": "a", "prompt": "reverse a list", "language": "python"},
    {"prompt_id": "b", "prompt": "what is a queue?"},
]


@pytest.fixture(scope="module")
def made(made_selection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: F811
    """A home with two finished runs (the second is a copy), a file of two prompts, and a report on both runs."""
    home = tmp_path_factory.mktemp("loop")
    settings = [*QUICK, "max_steps=2", "eval_rows=2"]
    first = home / "runs" / "run-0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROWPICK_HOME", str(home))
        command = ["run", "--selection", str(made_selection), "--out", str(first), "--track", "none", *settings]
        assert finetune(command) == 0
        shutil.copytree(first, home / "runs" / "run-1")
        (home / "prompts.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in PROMPTS))
        assert report(home, "--out", str(home / "reports" / "r")) == 0
        yield home


@pytest.fixture
def home(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ROWPICK_HOME", str(made))
    monkeypatch.chdir(tmp_path)
    return made


def report(home: Path, *arguments: str) -> int:
    return evalsuite(["report", "--prompts", str(home / "prompts.jsonl"), "--max-new-tokens", "8", *arguments])


@pytest.fixture
def finished_report(home: Path, tmp_path: Path) -> Path:
    """A copy of the report, so that a test may spoil it."""
    shutil.copytree(home / "reports", tmp_path / "reports")
    return tmp_path / "reports" / "r"


def test_a_report_of_two_runs_has_page_record_generations_and_index(finished_report: Path) -> None:
    record = json.loads((finished_report / "report.json").read_text())
    lines = [json.loads(line) for line in (finished_report / "generations.jsonl").read_text().splitlines()]
    assert [run["name"] for run in record["runs"]] == ["run-0", "run-1"]
    assert [(line["model"], line["prompt_id"]) for line in lines] == [
        (model, prompt) for prompt in "ab" for model in ("base", "run-0", "run-1")
    ]
    assert [run["gain"]["n"] for run in record["runs"]] == [10, 10]
    assert record["headline"] in (finished_report / "index.html").read_text()
    assert 'href="r/index.html"' in (finished_report.parent / "index.html").read_text()


def test_the_page_shows_a_selected_row_token_by_token_with_the_base_models_losses(
    home: Path, finished_report: Path
) -> None:
    (shown,) = read_report(finished_report).record.rows
    selection = read_run(home / "runs" / "run-0").read_selection()
    row = selection.selected[shown.view.number - 1]
    assert row.token_count == max(each.token_count for each in selection.selected)  # all are below 120 tokens
    assert shown.view.row_id == row.row_id and len(shown.view.tokens) == row.token_count
    assert "".join(t.text for t in shown.view.tokens if t.carries_loss).startswith(row.output)
    assert {t.carries_loss for t in shown.view.tokens if t.loss is not None} == {True}
    assert shown.view.tokens[-1].kind == "end token" and shown.view.tokens[-1].loss is not None
    assert f"<p>{shown.view.summary}</p>".replace("'", "&#39;") in (finished_report / "index.html").read_text()


@pytest.mark.parametrize(
    ("config", "executed", "sentences"),
    [
        ({"decontaminate": ["humaneval"]}, True, ["Leaks were looked for in the rows of s (humaneval): 3 left out."]),
        ({}, True, ["No benchmark was looked for in the rows of s; select with --decontaminate."]),
        ({}, False, []),
    ],
)
def test_a_report_says_whether_leaks_were_looked_for(config: Any, executed: bool, sentences: list[str]) -> None:
    manifest = SimpleNamespace(config=config, counts={"excluded.leaks_benchmark": 3})
    selection = SimpleNamespace(digest="d", path=Path("x/s"), manifest=manifest)
    work: Any = SimpleNamespace(
        evaluations=[SimpleNamespace(selection=selection)] * 2, execution=object() if executed else None
    )
    assert leak_notes(work) == sentences


def test_the_gain_is_the_difference_of_the_two_losses(finished_report: Path) -> None:
    for run in json.loads((finished_report / "report.json").read_text())["runs"]:
        difference = run["base_loss"]["value"] - run["tuned_loss"]["value"]
        assert run["gain"]["value"] == pytest.approx(difference, abs=1e-12)
        assert run["base_perplexity"] == pytest.approx(2.718281828459045 ** run["base_loss"]["value"], rel=1e-9)


def test_the_same_runs_give_the_same_bytes_elsewhere(home: Path, finished_report: Path, tmp_path: Path) -> None:
    assert report(home, "--out", str(tmp_path / "again" / "r")) == 0
    for name in ("index.html", "report.json", "generations.jsonl"):
        assert (tmp_path / "again" / "r" / name).read_bytes() == (finished_report / name).read_bytes()


def test_a_second_call_reuses_the_report_and_loads_no_model(
    home: Path, finished_report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (finished_report / "manifest.json").read_bytes()
    monkeypatch.setattr(
        "evaluate_suite.reporting.models.load_base_model", lambda config: pytest.fail("a model was loaded")
    )
    assert report(home, "--out", str(finished_report)) == 0
    assert (finished_report / "manifest.json").read_bytes() == before


def test_the_record_goes_to_standard_output_as_json(
    home: Path, finished_report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(home, "--out", str(finished_report), "--json") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "evaluate_suite.report/3"


def test_the_default_place_is_below_reports(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(home, "run-0") == 0
    path = Path(capsys.readouterr().out.strip())
    assert (path.parts[0], path.parts[1].startswith("run-0-"), path.is_file()) == ("reports", True, True)


def spoil(run: Path, **changes: Any) -> None:
    """Change values of a run's recorded config."""
    edit_manifest(run, lambda manifest: manifest["config"].update(changes))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("holdout_digest", "holdout"),
        ("tokenizer_digest", "tokenizer"),
        ("prompt_template_text", "prompt template"),
    ],
)
def test_runs_that_differ_in_what_must_agree_are_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, what: str
) -> None:
    other = Path(shutil.copytree(home / "runs" / "run-1", tmp_path / "other"))
    spoil(other, **{key: "something else"})
    assert report(home, "run-0", str(other), "--out", str(tmp_path / "r")) == 1
    assert f"error: These runs cannot be compared: they differ in their {what} (" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_another_report_in_the_same_place_is_an_error(
    home: Path, finished_report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(home, "run-0", "--out", str(finished_report)) == 1
    assert "holds another report" in capsys.readouterr().err


def test_an_unfinished_run_is_an_error(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path(shutil.copytree(home / "runs" / "run-1", tmp_path / "other"))
    (other / "manifest.json").unlink()
    assert report(home, str(other)) == 1
    assert f"is an unfinished run. Go on with: finetune run --resume {other}" in capsys.readouterr().err


@pytest.mark.parametrize("left", [None, b"", b"half of it"])
def test_a_run_without_its_whole_adapter_is_an_error(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], left: bytes | None
) -> None:
    other = Path(shutil.copytree(home / "runs" / "run-1", tmp_path / "other"))
    weights = other / "adapter" / "adapter_model.safetensors"
    weights.unlink()
    if left is not None:
        weights.write_bytes(left)
    assert report(home, str(other)) == 1
    problem = "is missing" if left is None else "is not the file its manifest describes"
    assert f"error: {weights} {problem}." in capsys.readouterr().err


def test_a_page_that_was_deleted_is_made_again(home: Path, finished_report: Path) -> None:
    before = (finished_report / "index.html").read_bytes()
    (finished_report / "index.html").unlink()
    assert report(home, "--out", str(finished_report)) == 0
    assert (finished_report / "index.html").read_bytes() == before
    assert report(home, "--out", str(finished_report / "none"), "--max-new-tokens", "0") == 2


def test_no_run_at_all_names_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert evalsuite(["report"]) == 1
    assert "Make one with: finetune run" in capsys.readouterr().err


def test_an_unknown_gate_is_a_usage_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(home, "--fail-on", "overfitt") == 2
    assert 'Did you mean "overfit"?' in capsys.readouterr().err


def test_a_gate_that_fails_exits_3_after_writing(
    home: Path, finished_report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((finished_report / "report.json").read_text())
    record["runs"][0]["gain"]["high"] = -0.1
    (finished_report / "report.json").write_text(json.dumps(record))
    sign_files(finished_report)
    assert report(home, "--out", str(finished_report), "--fail-on", "regression") == 3
    assert "run-0 has a higher eval loss than its base model" in capsys.readouterr().err


def spoiled_copy(home: Path, tmp_path: Path, name: str) -> Path:
    """A copy of a finished run that a test may spoil."""
    return Path(shutil.copytree(home / "runs" / "run-1", tmp_path / name))


def test_a_run_that_overfits_fails_its_gate_and_the_report_is_written(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = spoiled_copy(home, tmp_path, "memorised")
    losses = [3.17, 2.39, 2.13, 1.92, 1.85, 1.845, 1.88, 1.92, 1.95, 1.99]
    lines = [{"step": 10 * i, "train_loss": 3 - 0.2 * i, "eval_loss": x} for i, x in enumerate(losses, 1)]
    (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sign_files(run)
    assert report(home, str(run), "--out", str(tmp_path / "r"), "--fail-on", "regression") == 0
    assert report(home, str(run), "--out", str(tmp_path / "r"), "--fail-on", "overfit,regression") == 3
    told = capsys.readouterr().err
    assert "error: memorised is overfit. The report was written; see the verdict's suggestion in it." in told
    record = json.loads((tmp_path / "r" / "report.json").read_text())
    assert (record["runs"][0]["verdict"]["verdict"], record["runs"][0]["verdict"]["best_step"]) == ("overfit", 60)


def test_a_run_that_is_worse_than_its_base_model_fails_its_gate(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    run = spoiled_copy(home, tmp_path, "ruined")
    weights = run / "adapter" / "adapter_model.safetensors"
    # What training added is taken away instead.
    save_file({name: -w if "lora_B" in name else w for name, w in load_file(weights).items()}, weights)
    sign_files(run)
    assert report(home, str(run), "--out", str(tmp_path / "r"), "--fail-on", "overfit,regression") == 3
    assert "error: ruined has a higher eval loss than its base model." in capsys.readouterr().err
    assert (tmp_path / "r" / "index.html").is_file()


def test_an_artifact_of_a_newer_version_is_refused_with_a_sentence(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = spoiled_copy(home, tmp_path, "newer")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"schema": "finetune.run/99"}))
    for command in (["report", str(run)], ["compare", str(run), "run-0"]):
        assert evalsuite(command) == 1
        told = capsys.readouterr().err
        assert "finetune.run/99" in told
        assert told.count("\n") == 1
    assert not (tmp_path / "reports").exists()


def test_a_prompt_file_with_wrong_fields_stops_before_anything_is_made(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text('{"instruction": "a"}\n')
    assert evalsuite(["report", "run-0", "--prompts", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "r")]) == 1
    assert 'p.jsonl:1: unknown field "instruction"' in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_compare_refuses_runs_of_other_holdouts(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = spoiled_copy(home, tmp_path, "other")
    spoil(run, holdout_digest="something else")
    assert evalsuite(["compare", "run-0", str(run)]) == 1
    assert "they differ in their holdout (" in capsys.readouterr().err


def test_compare_prints_every_pair_of_runs(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReportModels, "row_view", lambda *_: pytest.fail("it shows no row, and needs no model for one"))
    assert evalsuite(["compare", "run-0", "run-1", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [(pair["first"], pair["second"], pair["n"]) for pair in record["pairs"]] == [("run-0", "run-1", 10)]
    # run-1 is a copy of run-0: no difference, no winner, and a word on what the comparison is about.
    assert (record["pairs"][0]["effect"], record["pairs"][0]["p"], record["winner"]) == (0.0, 1.0, None)
    assert (
        record["notes"][-1]
        == "Pairs of runs are about these runs, not their strategies: the rows alone are their unit."
    )


def test_compare_reads_other_peoples_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, passed in (("a", [True] * 8), ("b", [False] * 8)):
        rows = [{"task_id": f"t{i}", "passed": p} for i, p in enumerate(passed)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evalsuite(["compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--json"]) == 0
    pair = json.loads(capsys.readouterr().out)["pairs"][0]
    assert (pair["effect"], pair["p"], pair["winner"]) == (-1.0, 2 / 2**8, str(tmp_path / "a.jsonl"))


def test_verdict_reads_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [3.4447, 2.3417, 2.1127, 1.7639, 1.5759, 1.4730, 1.3543, 1.2742, 1.1549, 1.1733]
    evals = [3.1668, 2.3865, 2.1332, 1.9186, 1.8500, 1.8451, 1.8772, 1.9188, 1.9477, 1.9944]
    lines = [f"{10 * (i + 1)},{t},{e}" for i, (t, e) in enumerate(zip(train, evals, strict=True))]
    (tmp_path / "h.csv").write_text("step,train_loss,eval_loss\n" + "\n".join(lines))
    assert evalsuite(["verdict", str(tmp_path / "h.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["best_step"]) == ("overfit", 60)


def test_score_prints_the_text_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.jsonl").write_text('{"task_id": "a", "completion": "x = 1"}\n')
    assert evalsuite(["score", str(tmp_path / "g.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["answered"]["mean"] == 1.0


def test_a_port_that_cannot_be_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evalsuite(["watch", "run-0", "--port", "99999"]) == 1
    assert "error: Port 99999 cannot be used (" in capsys.readouterr().err
    assert evalsuite(["report", "--watch", "run-0", "--port", "99999"]) == 1
    printed = capsys.readouterr().err
    assert "evalsuite report --watch is now: evalsuite watch run-0" in printed
    assert "error: Port 99999 cannot be used (" in printed


def test_the_live_page_shows_the_losses_so_far_and_answers_only_its_own_address(tmp_path: Path) -> None:
    import http.client
    import threading

    from evaluate_suite.live.page import build_server

    (tmp_path / "history.jsonl").write_text('{"step": 1, "train_loss": 2.5, "eval_loss": 2.25}\n{"step": 2, "trai')
    with build_server(tmp_path, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            answers = []
            for host in ("127.0.0.1", "evil.example"):
                connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
                connection.request("GET", "/", headers={"Host": host})
                response = connection.getresponse()
                answers.append((response.status, b"eval loss 2.250 at step 1" in response.read()))
        finally:
            server.shutdown()
            thread.join()
    assert answers == [(200, True), (404, False)]
