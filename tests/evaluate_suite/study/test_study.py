"""`evalsuite study` with a tiny model: the plan, one report on the strategies, and going on after a stop."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.selection.record import Selection, read_selection
from evaluate_suite.cli import main as evalsuite
from evaluate_suite.reporting.page import strategy_columns
from evaluate_suite.reporting.recipe import read_report
from finetune.config import RunConfig
from finetune.recipe import train
from tests.finetune.conftest import QUICK, made_selection, tiny_model  # noqa: F401

TINY = [*QUICK, "max_steps=2", "eval_rows=2", "report_eval_rows=8", "max_length=256"]


@pytest.fixture(scope="module")
def studied(made_selection: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: F811
    """A home in which a study of random and shortest, 2 draws each and random at one more size, is finished."""
    home = tmp_path_factory.mktemp("study")
    rows = [json.loads(line) for line in (made_selection.parent / "rows.jsonl").read_text().splitlines()]
    lines = [json.dumps({**row, "source": "ab"[i % 2]}) + "\n" for i, row in enumerate(rows)]
    (home / "rows.jsonl").write_text("".join(lines))
    (home / "prompts.jsonl").write_text('{"prompt": "reverse a list", "language": "python"}\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROWPICK_HOME", str(home / "home"))
        patch.setenv("TINY_ROWS", str(home / "rows.jsonl"))
        patch.setattr("evaluate_suite.reporting.parts.LEAST_ROWS", 2)
        patch.setenv("TINY_MODEL", str(tiny_model))
        assert evalsuite(command(home, "--out", str(home / "reports" / "s"))) == 0
        yield home


def command(home: Path, *more: str, strategies: str = "random,shortest", draws: str = "2") -> list[str]:
    import os

    return [
        "study", "--strategies", strategies, "--draws", draws, "--k", "20", "--random-budgets", "10",
        "--dataset", os.environ["TINY_ROWS"], "--model", os.environ["TINY_MODEL"], "--encoder", "tfidf",
        "--near-duplicate", "0.999", "--prompts", str(home / "prompts.jsonl"), "--max-new-tokens", "4", *more, *TINY,
    ]  # fmt: skip


@pytest.fixture
def home(studied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ROWPICK_HOME", str(studied / "home"))
    monkeypatch.chdir(tmp_path)
    return studied


def record_of(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "reports" / "s" / "report.json").read_text())
    return found


def test_every_strategy_is_drawn_and_trained_equally_often(home: Path) -> None:
    record = record_of(home)
    counts = {s["name"]: (len(s["runs"]), s["n_draws"], s["n_seeds"]) for s in record["strategies"]}
    # shortest has one selection only, so its trainings differ in their seed instead.
    assert counts == {"random k20": (2, 2, 1), "shortest k20": (2, 1, 2), "random k10": (2, 2, 1)}
    assert len(record["runs"]) == 6


def test_the_headline_is_about_strategies_and_draws_are_the_unit(home: Path) -> None:
    record = record_of(home)
    assert {s["scope"] for s in record["strategies"]} == {"strategies"}
    assert "strateg" in record["headline"].lower()
    assert "Draws x training seeds: random k20: 2 x 1, shortest k20: 1 x 2, random k10: 2 x 1." in record["second"]
    pairs = [pair for pair in record["pairs"] if (pair["measure"], pair["scope"]) == ("eval loss", "strategies")]
    assert [(pair["first"], pair["second"], pair["unit"]) for pair in pairs] == [
        ("random k20", "shortest k20", "draws"),
        ("random k20", "random k10", "draws"),
        ("shortest k20", "random k10", "draws"),
    ]
    assert any(note.startswith("Few draws (random k20: 2, random k10: 2)") for note in record["notes"])


def test_the_page_shows_the_strategies_on_eval_loss_and_on_every_metric(home: Path) -> None:
    page = (home / "reports" / "s" / "index.html").read_text()
    draws = re.findall(r'<th scope="row">([^<]+)</th><td data-v="2">2</td><td data-v="(\d)">\d<small>(\d) ', page)
    assert draws == [("random k20", "2", "1"), ("shortest k20", "1", "2"), ("random k10", "2", "1")]
    table = page[page.index('id="strategy-metric-table"') :].split("</table>")[0]
    assert re.findall(r'<th scope="row">(Tuned eval loss|Well-formed answer|Stopped by itself)</th>', table) == [
        "Tuned eval loss", "Well-formed answer", "Stopped by itself",
    ]  # fmt: skip
    assert "Eval loss, strategies: " in page
    assert "Stopped by itself, strategies: " in page


def test_strategies_are_compared_on_every_metric_that_runs_are(home: Path) -> None:
    record = record_of(home)
    of_models = {pair["measure"] for pair in record["pairs"] if pair["scope"] == "models"}
    assert {pair["measure"] for pair in record["pairs"] if pair["scope"] == "strategies"} == of_models
    assert {m["name"] for m in record["metrics"]} == set(record["strategies"][0]["metrics"])
    clean = record["strategies"][0]["metrics"]["well_formed_answer"]
    runs = [run["metrics"]["well_formed_answer"]["value"] for run in record["runs"] if run["strategy"] == "random"][:2]
    assert clean["estimate"]["value"] == sum(runs) / 2
    # One prompt: the mean is known, nothing can be said of how sure it is.
    assert clean["estimate"]["reason"] == "fewer than 2 items"


def test_the_terminal_shows_the_strategies_on_every_measure(home: Path) -> None:
    heads, rows = strategy_columns(read_report(home / "reports" / "s").record)
    assert heads == ["measure", "random k20\n2 x 1", "shortest k20\n1 x 2", "random k10\n2 x 1", "shown"]
    names = [row[0] for row in rows]
    assert sorted(names[:3]) == ["eval loss", "eval loss on a", "eval loss on b"]
    assert names[3] == "well formed answer"
    assert rows[3][-1] == "no difference shown"


def test_the_loss_of_each_source_is_in_the_report_with_its_pairs_and_its_worth(home: Path) -> None:
    record = record_of(home)
    run = record["runs"][0]
    on_a, on_b = (run["metrics"][f"eval loss on {source}"]["value"] for source in "ab")
    assert min(on_a, on_b) <= run["tuned_loss"]["value"] <= max(on_a, on_b)
    pairs = [p for p in record["pairs"] if (p["measure"], p["scope"]) == ("eval loss on a", "strategies")]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [
        ("random k20", "shortest k20"), ("random k20", "random k10"), ("shortest k20", "random k10"),
    ]  # fmt: skip
    assert {note.split(":")[0] for note in record["notes"] if note.startswith("On ")} == {"On a", "On b"}
    page = (home / "reports" / "s" / "index.html").read_text()
    assert "Eval loss on a, strategies: " in page
    assert '<option value="eval loss on a">' not in page


def test_what_a_strategy_is_worth_in_random_tokens_is_said_with_its_reason(home: Path) -> None:
    worth = {s["name"]: s["random_equivalent"] for s in record_of(home)["strategies"]}
    assert worth["random k20"] is None
    assert worth["shortest k20"]["n_draws"] == 4
    assert (worth["shortest k20"]["tokens"] is None) == (worth["shortest k20"]["reason"] is not None)


def test_compare_takes_draws_together_and_says_what_it_is_about(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [run["name"] for run in record_of(home)["runs"]]
    assert evalsuite(["compare", *names]) == 0
    text = capsys.readouterr().out
    assert "eval loss (nats per token), taken together (about these strategies)" in text
    assert "Few draws (random k20: 2, random k10: 2)" in text
    assert text.splitlines()[-1] in ("No winner is shown.", *(f"Winner: {n}." for n in ("random k20", "shortest k20")))
    assert evalsuite(["compare", *names, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["strategies"]["scope"] == "strategies"
    assert [pair["unit"] for pair in record["strategies"]["pairs"]] == ["draws"] * 3
    assert [pair["unit"] for pair in record["pairs"]] == ["rows"] * 15
    assert list(record["random_equivalents"]) == ["shortest k20"]
    assert record["parts"] == {}
    assert evalsuite(["compare", *names, "--by", "source", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert sorted(parts) == ["a", "b"]
    assert [pair["unit"] for pair in parts["a"]["strategies"]["pairs"]] == ["draws"] * 3
    of_report = {run["name"]: run["metrics"]["eval loss on a"]["value"] for run in record_of(home)["runs"]}
    assert {name: estimate["value"] for name, estimate in parts["a"]["models"].items()} == of_report
    assert evalsuite(["compare", *names, "--by", "source"]) == 0
    assert "On a alone:" in capsys.readouterr().out.splitlines()


def test_draws_are_coordinated_and_compared_one_by_one_with_the_unpaired_analysis_beside_it(home: Path) -> None:
    pairs = [p for p in record_of(home)["pairs"] if (p["measure"], p["scope"]) == ("eval loss", "strategies")]
    # shortest has one selection: there is no draw of it to pair.
    assert [p["unpaired"] is not None for p in pairs] == [False, True, False]
    assert pairs[1]["unpaired"]["effect"] == pytest.approx(pairs[1]["effect"])
    small, large = (
        {row.row_id for row in read_selection(path).selected}
        for path in sorted((home / "home" / "selections").glob("random-*"))
        if read_selection(path).manifest.seed == 0
    )
    assert small < large or large < small


def test_the_study_is_written_as_a_file_that_repeats_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = (home / "home" / "studies").glob("*/study.yaml")
    assert evalsuite(["study", "--file", str(file), "--dry-run", "--json"]) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)["runs"], json.loads(told.out)["finished_runs"]) == (6, 6)
    assert re.search(r"It can show a difference of \d+\.\d times the spread between draws, 4 times in 5: \d", told.err)
    file = home / "other.yaml"
    file.write_text("strategies: [random]\ndraw: 3\n")
    assert evalsuite(["study", "--file", str(file), "--dry-run"]) == 1
    assert 'draw is not a field. Did you mean "draws"?' in capsys.readouterr().err


def plan_of(home: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code of a study file's plan, its selections in order, and what was said."""
    file = home / "asked.yaml"
    selection = f"selection: {{dataset: {home / 'rows.jsonl'}, model: smollm2-135m, encoder: tfidf, k: 20}}\n"
    file.write_text(f"{text}\ndraws: 2\n{selection}")
    code = evalsuite(["study", "--file", str(file), "--dry-run", "--json"])
    told = capsys.readouterr()
    return code, json.loads(told.out)["selections"] if code == 0 else [], told.err


def test_targets_are_taken_in_turn_and_cells_have_settings_of_their_own(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
strategies: [random, target-words, short-rows]
targets: [one/wanted.jsonl, two/wanted.jsonl]
random_budgets: []
cells:
  - {strategy: short-rows, strategy_options: {power: 1.0}}
  - {strategy: random, pick_where: [source=a]}
  - {strategy: target-words, target: one/wanted.jsonl, cap: [source=0.5], k: 10}
"""
    code, planned, said = plan_of(home, text, capsys)
    assert code == 0
    assert [each["strategy"] for each in planned if each["draw"] == 0] == [
        "random k20", "target-words k20 target=wanted.jsonl", "target-words k20 target=wanted.jsonl", "short-rows k20",
        "short-rows k20 power=1.0", "random k20 source=a", "target-words k10 target=wanted.jsonl cap source=0.5",
    ]  # fmt: skip
    assert said.count("2 draws x 1 seeds, 0 drawn") == 7  # two targets of one name are two cells


def test_random_at_a_size_that_is_asked_for_twice_is_drawn_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, planned, _ = plan_of(home, "cells: [{k: 20}, {k: 10}]\nrandom_budgets: [10, 5]", capsys)
    assert (code, [each["strategy"] for each in planned]) == (0, [f"random k{k}" for k in (20, 10, 5) for _ in "12"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("strategies: [random]\ntargets: [t.jsonl]", "None of random takes a --target."),
        ("cells: [{strategy: random, holdout: 9}]", "cells[0] sets holdout. It is the same for all cells"),
        ("cells: [{stratgy: random}]", 'cells[0] sets stratgy. Did you mean "strategy"?'),
        ("cells: [{strategy: kmean}]", 'Unknown strategy "kmean" in cells[0]. Did you mean "kmeans"?'),
        ("cells: [{strategy: random, k: many}]", "cells[0]: --k is many: input should be a valid integer"),
        ("strategies: [random]\ncells: [{strategy: random}]", "random k20 is asked for twice."),
        ("cells: [{strategy: target-words}]", "Strategy target-words picks near a target set, and there is none."),
        ("strategies: []", "Nothing is studied."),
        ("strategies: [kmeans]\noptions: {kmeans: {x: 1}}", 'Strategy kmeans takes no option "x=1".'),
        ("cells: [{strategy: short-rows, strategy_options: {power: 99}}]", "power=99 is out of range."),
        ("cells: [{strategy: random, pick_where: 3}]", "--pick-where is 3: input should be a list"),
    ],
)
def test_what_a_study_file_cannot_mean_is_said(
    text: str, sentence: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = plan_of(home, text, capsys)
    assert (code, sentence in " ".join(said.split())) == (2, True), said


@pytest.mark.long
def test_a_study_of_two_targets_ends_in_one_report_with_the_worth_of_each(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluate_suite.reporting.parts.LEAST_ROWS", 2)
    rows = [json.loads(line) for line in (home / "rows.jsonl").read_text().splitlines()]
    for source in "ab":
        wanted = [json.dumps({**row, "source": "mine"}) + "\n" for row in rows if row["source"] == source]
        (home / f"{source}.jsonl").write_text("".join(wanted[:10]))
    more = ["--target", str(home / "a.jsonl"), "--target", str(home / "b.jsonl"), "--out", "both"]
    assert evalsuite(command(home, *more, strategies="target-words")) == 0
    record = json.loads(Path("both/report.json").read_text())
    words = [f"target-words k20 target={source}.jsonl" for source in "ab"]
    assert [s["name"] for s in record["strategies"]] == [*words, "random k20", "random k10"]
    assert [s["random_equivalent"] is not None for s in record["strategies"]] == [True, True, False, False]


@pytest.mark.long
def test_a_cell_that_fails_costs_that_cell_alone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(config: RunConfig, selection: Selection, *more: Any) -> Any:
        if selection.manifest.config["k"] == 10 and selection.manifest.seed == 1:
            raise RuntimeError("out of memory")
        return train(config, selection, *more)

    monkeypatch.setattr("evaluate_suite.study.cells.train", broken)
    assert evalsuite(command(home, "--out", str(tmp_path / "r"))) == 1
    told = capsys.readouterr().err
    assert "1 cells of the study failed" in told and "RuntimeError: out of memory" in told
    assert len(json.loads((tmp_path / "r" / "report.json").read_text())["runs"]) == 5


def test_a_finished_study_is_reused_without_selecting_or_training(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("finetune.recipe.build_trainer", lambda *_: pytest.fail("a run was trained"))
    monkeypatch.setattr("curate.pipeline.pick", lambda *_: pytest.fail("a selection was made"))
    assert evalsuite(command(home, "--out", str(home / "reports" / "s"))) == 0
    told = capsys.readouterr().err
    assert "6 runs, 6 finished already, 0 to train." in told
    assert "Draws x training seeds taken together, about these strategies:" in told


def test_the_plan_says_what_is_left_and_makes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted((home / "home").rglob("manifest.json"))
    assert evalsuite(command(home, "--dry-run", "--json", strategies="kmeans,shortest", draws="3")) == 0
    told = capsys.readouterr()
    plan = json.loads(told.out)
    assert sorted((home / "home").rglob("manifest.json")) == before
    assert (plan["runs"], plan["finished_runs"]) == (12, 0)
    assert [(s["strategy"], s["draw"], s["made"] is not None) for s in plan["selections"]][3:6] == [
        ("shortest k20", 0, True), ("shortest k20", 1, True), ("shortest k20", 2, False),
    ]  # fmt: skip
    assert plan["notes"] == ["random is added: it is the bar for all others."]
    assert plan["seconds"] == pytest.approx(12 * plan["seconds_a_run"])
    assert "12 runs, 0 finished already, 12 to train." in told.err


@pytest.mark.long
def test_a_killed_study_goes_on_where_it_stopped(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(home / "home", tmp_path / "home")
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "home"))
    last = sorted((tmp_path / "home" / "runs").glob("random-k10-*"))[0]
    (last / "manifest.json").unlink()
    expected = (last / "history.jsonl").read_bytes()
    (last / "history.jsonl").write_bytes(expected[: len(expected) // 2])
    shutil.rmtree(last / "checkpoints")
    assert evalsuite(command(home, "--out", str(tmp_path / "r"))) == 0
    assert "6 runs, 5 finished already, 1 to train." in capsys.readouterr().err
    assert (last / "history.jsonl").read_bytes() == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strategies", "random,kmean"], 'Unknown strategy "kmean". Did you mean "kmeans"?'),
        (["--strategies", "random,random"], "A strategy is named twice"),
        (["--draws", "0"], "--draws is 0; it must be at least 1."),
        (["--k", "20", "--token-budget", "100"], "--k and --token-budget are both given."),
        (["--wandb", "of"], '--wandb is "of".'),
        (["--random-budgets", "a"], '--random-budgets is "a".'),
        (["--preset", "cpu-dem"], 'Unknown preset "cpu-dem". Did you mean "cpu-demo"?'),
        (["--preset", "gpt2", "--model", "smollm2-135m"], "Rows are counted for smollm2-135m, but"),
    ],
)
def test_what_is_wrong_in_itself_exits_2_before_any_work(
    more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = more if "--preset" in more else ["--preset", "cpu-demo", *more]
    assert evalsuite(["study", *arguments]) == 2
    assert message in capsys.readouterr().err
