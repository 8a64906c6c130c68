"""Artifacts that earlier versions left on people's disks are still read, and equal rows still give equal picks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from curate.artifact import SCHEMAS, Record, digest_file, read_manifest
from curate.artifact.manifest_schema import FileRecord
from curate.cli import main as curate
from curate.comparison.record import ComparisonRecord, read_comparison
from curate.errors import UserError
from curate.page import write_index
from curate.scores.draws_record import read_draws
from curate.scores.influence_record import read_influence
from curate.scores.mixture_record import read_mixture
from curate.selection.record import read_selection
from evaluate_suite.reporting.page import run_columns
from evaluate_suite.reporting.recipe import check_gates, read_report
from evaluate_suite.reporting.record import ReportRecord
from finetune.padding_study.record import PaddingStudyRecord, read_padding_study
from finetune.run.record import read_run
from tests.make_golden import GOLDEN, select_arguments, write_golden_rows


@pytest.fixture
def golden_home(own_home: Path) -> Path:
    """A home that holds copies of the golden selection and run, as if moved from the machine that made them."""
    shutil.copytree(GOLDEN / "curate.selection-1", own_home / "selections" / "golden")
    shutil.copytree(GOLDEN / "finetune.run-1", own_home / "runs" / "golden")
    return own_home


def test_every_schema_number_of_every_kind_has_a_golden_artifact() -> None:
    expected = {f"{kind}-{number}" for kind, (newest, _) in SCHEMAS.items() for number in range(1, newest + 1)}
    assert {folder.name for folder in GOLDEN.iterdir()} == expected


def test_a_selection_of_schema_1_is_read(golden_home: Path) -> None:
    selection = read_selection("golden")
    assert [len(selection.selected), len(selection.holdout)] == [12, 4]
    assert selection.selected[0].instruction == "sort a file"
    assert selection.manifest.counts["excluded.duplicate"] == 1
    assert selection.template.text == "{instruction}"


def test_the_golden_rows_still_give_the_golden_picks_and_the_golden_holdout(tmp_path: Path) -> None:
    write_golden_rows(tmp_path / "rows.jsonl")
    assert curate(select_arguments(tmp_path / "rows.jsonl", Path("smollm2-135m"), tmp_path / "again")) == 0
    for name in ("selected.jsonl", "holdout.jsonl"):
        assert (tmp_path / "again" / name).read_text() == (GOLDEN / "curate.selection-1" / name).read_text()


def test_a_run_of_schema_1_is_read_with_its_selection_although_both_were_moved(golden_home: Path) -> None:
    run = read_run("golden")
    assert [line["step"] for line in run.history] == [0, 1, 2, 3]
    assert run.manifest.config["best_step"] == 3
    assert run.history[-1]["eval_loss"] == run.manifest.config["best_eval_loss"]
    assert (run.config.max_steps, run.config.learning_rate, run.config.r) == (6, 0.01, 16)
    assert run.read_selection().path == golden_home / "selections" / "golden"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_report_of_every_schema_is_read_judged_and_listed(number: int, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "golden"
    shutil.copytree(GOLDEN / f"evaluate_suite.report-{number}", folder)
    record = read_report(folder).record
    assert [run.name for run in record.runs] == ["golden"]
    assert record.metrics[0].name == "well_formed_answer"
    first = record.pairs[0]
    assert (first.measure, first.scope, first.p_holm) == ("eval loss", "models", 0.125)
    assert (record.pairs[1].measure, record.runs[0].verdict.evidence["n_evals"]) == ("well_formed_answer", 2)
    assert run_columns(record)[1][0][:2] == ["golden", "shortest"]
    check_gates(record, ("overfit", "regression"))
    lines = [json.loads(line) for line in (folder / "generations.jsonl").read_text().splitlines()]
    assert [line["model"] for line in lines] == ["base", "golden"]
    write_index(folder.parent)
    assert record.headline in (folder.parent / "index.html").read_text()


@pytest.mark.parametrize("record", [ReportRecord, ComparisonRecord, PaddingStudyRecord])
def test_a_record_is_written_as_it_is_read_and_one_of_a_newer_version_is_refused(
    record: type[Record], tmp_path: Path
) -> None:
    kind, _, number = record.model_fields["schema_"].default.partition("/")
    golden = GOLDEN / f"{kind}-{number}"
    read = record.read(golden, read_manifest(golden, kind), "Make it again.")
    read.write(tmp_path)
    assert (tmp_path / record.file).read_bytes() == (golden / record.file).read_bytes()

    newer = json.loads((golden / record.file).read_text()) | {"schema": f"{kind}/9"}
    (tmp_path / record.file).write_text(json.dumps(newer))
    changed = FileRecord(file=record.file, sha256=digest_file(tmp_path / record.file))
    manifest = read_manifest(golden, kind).model_copy(update={"outputs": [changed]})
    with pytest.raises(UserError, match=f"is of {kind}/9; this version reads up to {kind}/{number}"):
        record.read(tmp_path, manifest, "Make it again.")


def test_a_report_that_lacks_what_its_schema_has_is_an_error_that_names_it(tmp_path: Path) -> None:
    golden = GOLDEN / "evaluate_suite.report-1"
    content = json.loads((golden / "report.json").read_text())
    manifest = read_manifest(golden, "evaluate_suite.report")
    for spoiled, problem in (
        (
            {key: value for key, value in content.items() if key != "runs"},
            r"does not fit evaluate_suite.report/1 \(KeyError",
        ),
        (content | {"command": None}, r"does not fit its schema \(command: Input should be a valid string\)"),
    ):
        (tmp_path / "report.json").write_text(json.dumps(spoiled))
        changed = FileRecord(file="report.json", sha256=digest_file(tmp_path / "report.json"))
        with pytest.raises(UserError, match=problem):
            ReportRecord.read(tmp_path, manifest.model_copy(update={"outputs": [changed]}), "Make it again.")


def test_a_padding_study_of_schema_1_is_read_without_the_base_loss_it_did_not_have() -> None:
    study = read_padding_study(GOLDEN / "finetune.padding_study-1")
    assert [(arm.name, arm.base_loss) for arm in study.arms[:2]] == [("packed", None), ("packed", None)]
    assert study.headline == study.answers[0]


def test_a_comparison_of_schema_1_is_read_and_a_padding_study_listed(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "curate.comparison-1", tmp_path / "comparison")
    shutil.copytree(GOLDEN / "finetune.padding_study-1", tmp_path / "padding")
    compared = read_comparison(tmp_path / "comparison")
    assert [(result.strategy, result.rows) for result in compared.results] == [("random", 12), ("first", 12)]
    write_index(tmp_path)
    listed = (tmp_path / "index.html").read_text()
    for folder, kind in (("comparison", "curate.comparison"), ("padding", "finetune.padding_study")):
        headline = read_manifest(tmp_path / folder, kind).config["headline"]
        assert f'<a href="{folder}/index.html">{headline}</a>' in listed


def test_a_mixture_and_draws_of_schema_1_are_read() -> None:
    mixture, draws = (
        read_mixture(GOLDEN / "evaluate_suite.mixture-1"),
        read_draws(GOLDEN / "evaluate_suite.draws-1"),
    )
    assert mixture.record.law is not None and len(mixture.record.proxies) == 10
    assert mixture.record.by == "strata" and mixture.record.features == []
    assert set(mixture.value_of.values()) == set(range(len(mixture.record.strata)))
    assert [draw.number for draw in draws.record.draws] == [0, 1]
    assert (draws.record.size, sorted(draws.place_of.values())) == ("--k 12", list(range(12)))


def test_scores_of_influence_of_schema_1_are_read() -> None:
    scores = read_influence(GOLDEN / "finetune.influence-1")
    assert (scores.manifest.counts["rows"], scores.manifest.counts["reference_rows"]) == (len(scores.scores), 12)
    assert all(isinstance(score, float) for score in scores.scores.values())
