"""`curate compare`: measures with known values, one pool for all strategies, and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.cli import main
from curate.comparison.page import ComparisonPageData, _distance_chart, _map_chart
from curate.comparison.recipe import headline, parse_strategies
from curate.comparison.record import StrategyPicks, read_comparison
from curate.errors import UsageError
from curate.pool.rows import Row
from curate.selection.language_mix import language_mix, row_language
from curate.vectors.coverage import nearest_cosines
from curate.vectors.diversity import close_pairs, evenness, vendi_score
from tests.curate.test_pipeline import rows


def test_the_vendi_score_counts_orthogonal_rows_and_takes_equal_ones_for_one() -> None:
    eye = np.eye(5, dtype=np.float32)
    assert vendi_score(eye) == pytest.approx(5)
    assert vendi_score(eye[[0, 0, 0, 0]]) == pytest.approx(1)
    assert vendi_score(eye[[0, 0, 1, 1]]) == pytest.approx(2)
    assert vendi_score(eye[[0, 0, 0, 1]]) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))


def test_the_vendi_score_is_that_of_the_whole_matrix_of_cosines_when_rows_outnumber_dimensions() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 7)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(vectors.astype(np.float64) @ vectors.T / 60)
    values = values[values > 1e-9]
    assert vendi_score(vectors) == pytest.approx(float(np.exp(-(values * np.log(values)).sum())), rel=1e-6)


def test_evenness_is_one_for_equal_shares_zero_for_one_cluster_and_absent_without_clusters() -> None:
    assert evenness(np.array([0, 1, 2, 3], dtype=np.int32), 4) == pytest.approx(1)
    assert evenness(np.array([2, 2], dtype=np.int32), 4) == pytest.approx(0)
    assert evenness(np.array([0, 1], dtype=np.int32), 4) == pytest.approx(0.5)
    assert evenness(np.array([0], dtype=np.int32), 1) is None


def test_close_pairs_are_counted_once_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.vectors.diversity._BLOCK", 2)
    eye = np.eye(3, dtype=np.float32)
    assert close_pairs(eye[[0, 1, 0, 2, 0]], 0.9) == 3
    assert close_pairs(eye, 0.9) == 0


def test_the_nearest_cosine_is_taken_over_all_picks() -> None:
    eye = np.eye(3, dtype=np.float32)
    assert nearest_cosines(eye, np.array([0, 2])).tolist() == [1, 0, 1]


def test_its_charts_fit_vega_lites_schema() -> None:
    import altair

    done = [StrategyPicks(strategy=name, rows=9, mean_distance=0.3, vendi_score=7.0) for name in ("random", "kmeans")]
    data = ComparisonPageData(
        "c", "h", "s", done, {}, [], [(0.1, 0.2, 0, "sort", ("random",))], 9, [], [], {}, "curate compare"
    )  # fmt: skip
    for chart in (_distance_chart(done), _map_chart(data, done)):
        altair.Chart.from_dict(chart.spec, validate=True).to_dict(validate=True)


def test_the_headline_names_the_nearest_and_the_bar() -> None:
    results = [
        StrategyPicks(strategy="random", rows=9, mean_distance=0.3, vendi_score=7.0),
        StrategyPicks(strategy="kcenter", rows=9, mean_distance=0.2, vendi_score=8.0),
        StrategyPicks(strategy="dpp", reason="cannot"),
    ]
    told, second = headline(results, 100)
    assert told == (
        "kcenter covers the 100 candidates best: 0.200 to the nearest pick on average, against 0.300 for random."
    )
    assert second.startswith("kcenter is the most varied (Vendi score 8.0).")


def test_the_headline_names_no_best_among_figures_that_read_the_same() -> None:
    def told(**distances: float) -> tuple[str, str]:
        done = [StrategyPicks(strategy=s, rows=9, mean_distance=d, vendi_score=7.0) for s, d in distances.items()]
        return headline(done, 100)

    both, second = told(random=0.3, dpp=0.3)
    assert both == "All 2 strategies cover the 100 candidates alike: 0.300 to the nearest pick on average."
    assert second.startswith("2 of the 2 are the most varied (Vendi score 7.0).")
    assert told(random=0.3, mmr=0.2004, kmeans=0.2001, dpp=0.1999)[0] == (
        "dpp, kmeans and mmr cover the 100 candidates best, and alike: 0.200 to the nearest pick on average, against "
        "0.300 for random."
    )
    assert told(random=0.3, dpp=0.4, mmr=0.3)[0] == (
        "mmr and random cover the 100 candidates best, and alike: 0.300 to the nearest pick on average."
    )
    assert told(dpp=0.3)[0] == "dpp covers the 100 candidates best: 0.300 to the nearest pick on average."


def test_a_rows_language_is_its_longest_codes_and_prose_is_no_code() -> None:
    def row(instruction: str, output: str) -> Row:
        return Row(0, "id", instruction, output, "here")

    fenced = row("do it", "Say:\n```bash\nls\n```\nor\n```js\nconst a = [1, 2, 3].map(x => x + 1);\n```\n")
    named = row("Write a Python function.", "def f(x):\n    return x\n")
    prose = row("What is a queue?", "A line of people who wait.")
    assert [row_language(each) for each in (fenced, named, prose)] == ["javascript", "python", "no code"]
    assert language_mix([named, named, prose, fenced]) == {"python": 0.5, "javascript": 0.25, "no code": 0.25}


@pytest.mark.parametrize(
    ("given", "said"), [("kmean,random", 'Unknown strategy "kmean"'), ("first,first", "once"), ("", "once")]
)
def test_strategies_that_cannot_be_meant_are_usage_errors(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_strategies(given)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "rows.jsonl"
    made = [*rows(), {"instruction": "</script><script>alert(1)</script>", "output": "hostile_" * 9}]
    path.write_text("".join(json.dumps(row | {"source": "a" if i % 3 else "b"}) + "\n" for i, row in enumerate(made)))
    monkeypatch.chdir(tmp_path)
    return path


def compare(pool: Path, *more: str) -> int:
    common = ["--dataset", str(pool), "--model", "smollm2-135m", "--encoder", "tfidf", "--near-duplicate", "0.999"]
    return main(["compare", *common, "--holdout", "20", *more])


def test_every_strategy_picks_from_the_same_candidates_and_the_record_page_and_index_say_so(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(pool, "--k", "40", "--strategies", "random,first,shortest,kmeans", "--json") == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    folder = Path(record["path"])
    results = {each["strategy"]: each for each in record["results"]}
    assert list(results) == ["random", "first", "shortest", "kmeans"]
    assert [each["rows"] for each in results.values()] == [40] * 4
    assert all(each["seconds"] >= 0 and sum(each["cluster_shares"]) == pytest.approx(1) for each in results.values())
    assert all(set(each["shared"]) == set(results) - {name} for name, each in results.items())
    assert record["headline"] in printed.err
    page = (folder / "index.html").read_text()
    assert record["headline"] in page and "<script>alert" not in page
    assert f'href="{folder.name}/index.html"' in Path("reports/index.html").read_text()


def test_the_figures_are_those_of_the_selection_that_select_writes(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from curate.selection.record import read_selection

    assert compare(pool, "--k", "40", "--strategies", "kmeans", "--json") == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    common = ["--dataset", str(pool), "--model", "smollm2-135m", "--encoder", "tfidf", "--near-duplicate", "0.999"]
    assert (
        main(["select", *common, "--strategy", "kmeans", "--holdout", "20", "--k", "40", "--out", str(tmp_path / "s")])
        == 0
    )
    selection = read_selection(tmp_path / "s")
    coverage = selection.manifest.config["coverage"]
    assert result["tokens"] == sum(row.token_count for row in selection.selected)
    assert 1 - result["mean_distance"] == pytest.approx(coverage["mean_cosine_to_nearest_pick"], abs=1e-4)
    assert 1 - result["worst_distance"] == pytest.approx(coverage["worst_cosine_to_nearest_pick"], abs=1e-4)


def test_options_reach_the_strategies_that_take_them_and_the_command_on_the_page(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {}
    for relevance in ("0.0", "1.0"):
        option = ("--strategy-option", f"relevance={relevance}")
        assert compare(pool, "--k", "20", "--strategies", "random,mmr", *option, "--out", relevance, "--json") == 0
        made[relevance] = json.loads(capsys.readouterr().out)["results"]
        assert read_comparison(Path(relevance)).config["strategy_options"] == {"mmr": {"relevance": float(relevance)}}
        assert f"--strategy-option relevance={relevance}" in (Path(relevance) / "index.html").read_text()
    assert made["0.0"][0]["mean_distance"] == made["1.0"][0]["mean_distance"]
    assert made["0.0"][1]["vendi_score"] > made["1.0"][1]["vendi_score"]


def test_the_map_knows_who_picked_each_row(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curate.comparison import recipe as comparison_recipe

    shown: list[ComparisonPageData] = []
    render = comparison_recipe.render_comparison_page
    monkeypatch.setattr(comparison_recipe, "render_comparison_page", lambda data: shown.append(data) or render(data))
    assert compare(pool, "--k", "20", "--strategies", "shortest,longest", "--out", "c") == 0
    by = [names for *_, names in shown[0].points]
    both = round((read_comparison(Path("c")).results[0].shared or {})["longest"] * 20)
    assert [sum(name in names for names in by) for name in ("shortest", "longest")] == [20, 20]
    assert by.count(("shortest", "longest")) == both
    assert len(by) == shown[0].n_candidates


def test_the_same_again_is_reused_and_another_in_its_place_is_an_error(
    pool: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compare(pool, "--k", "30", "--strategies", "first,random", "--out", "c") == 0
    before = (Path("c") / "manifest.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("curate.pipeline.embed", lambda work: pytest.fail("computed again"))
        assert compare(pool, "--k", "30", "--strategies", "first,random", "--out", "c") == 0
    assert (Path("c") / "manifest.json").read_bytes() == before
    assert compare(pool, "--k", "31", "--strategies", "first,random", "--out", "c") == 1
    assert "c holds another comparison" in capsys.readouterr().err


def test_a_strategy_that_cannot_pick_says_why_and_the_others_stand(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curate.comparison import recipe
    from curate.errors import UserError

    choose = recipe.choose

    def refuse(config: Any, *rest: Any) -> Any:
        if config.strategy == "first":
            raise UserError("It has no scores.", "Make them.")
        return choose(config, *rest)

    monkeypatch.setattr(recipe, "choose", refuse)
    assert compare(pool, "--k", "30", "--strategies", "first,random", "--out", "c") == 0
    first, other = read_comparison(Path("c")).results
    assert (first.reason, first.rows, other.rows) == ("It has no scores. Make them.", 0, 30)
    assert "picked nothing: It has no scores. Make them." in (Path("c") / "index.html").read_text().replace(
        "</strong>", ""
    )


def test_a_strategy_without_its_scores_names_the_command_below_the_table_and_the_others_stand(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(pool, "--k", "30", "--strategies", "ifd,random", "--out", "c") == 0
    first, other = read_comparison(Path("c")).results
    assert "have no score by smollm2-135m yet in" in str(first.reason)
    assert other.rows == 30
    table, told = capsys.readouterr().err.rsplit("\nifd picked nothing: ", 1)
    assert told.strip() == first.reason
    assert max(map(len, table.splitlines())) < 140


@pytest.mark.parametrize("option", ["--target", "--influence", "--mixture", "--draws", "--score-model"])
def test_what_no_compared_strategy_takes_is_refused(
    pool: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(pool, "--k", "9", "--strategies", "random,kmeans", option, str(pool)) == 2
    assert f"None of random, kmeans takes {option}. Leave it out." in capsys.readouterr().err


def test_all_strategies_are_compared_without_a_target_and_those_that_need_one_say_so(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(pool, "--k", "9") == 0
    said = " ".join(capsys.readouterr().err.split())
    for name in ("rds", "target-words", "target-importance", "target-classifier"):
        assert f"{name} picked nothing: Strategy {name} picks near a target set, and there is none." in said


def test_a_comparison_by_token_budget_is_listed_with_its_budget_and_no_k(pool: Path) -> None:
    assert compare(pool, "--token-budget", "2000", "--strategies", "random,longest", "--out", "reports/c") == 0
    some, other = read_comparison(Path("reports/c")).results
    assert some.shared is not None and other.shared is not None and some.rows > other.rows
    assert some.shared["longest"] > 0
    assert some.shared["longest"] * some.rows == pytest.approx(other.shared["random"] * other.rows, abs=0.02)
    listed = Path("reports/index.html").read_text()
    assert "Token budget: 2,000" in listed and "k: 1" not in listed


def test_without_the_scoring_model_only_the_strategies_that_need_it_pick_nothing(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curate.errors import UserError

    def absent(model: str) -> str:
        raise UserError(f"The embedded model {model} is not installed.", "Install it.")

    monkeypatch.setattr("curate.scores.kept_scores.model_identity", absent)
    assert compare(pool, "--k", "30", "--strategies", "ifd,random", "--out", "c") == 0
    first, other = read_comparison(Path("c")).results
    assert (first.reason, other.rows) == ("The embedded model smollm2-135m is not installed. Install it.", 30)


def test_where_no_strategy_can_pick_each_says_why(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(pool, "--k", "30", "--strategies", "rds", "--out", "c") == 1
    assert capsys.readouterr().err == (
        "error: No strategy could pick. rds: Strategy rds picks near a target set, and there is none. "
        "Name a file of rows: --target FILE\n"
    )


def test_scores_made_since_are_used_when_the_same_is_compared_again(
    pool: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from curate.scores.kept_scores import RowScore
    from curate.sources import load_rows

    def failed() -> dict[str, bool]:
        capsys.readouterr()
        assert compare(pool, "--k", "30", "--strategies", "ifd,random", "--json") == 0
        return {each["strategy"]: each["reason"] is not None for each in json.loads(capsys.readouterr().out)["results"]}

    assert failed() == {"ifd": True, "random": False}
    scored = {row.row_id: RowScore(row.row_id, 9, 1.0, 2.0) for row in load_rows(str(pool)).rows}
    monkeypatch.setattr("curate.scores.kept_scores.read_scores", lambda model: scored)
    assert failed() == {"ifd": False, "random": False}


def test_a_pool_that_is_too_small_is_one_line_and_leaves_nothing(pool: Path) -> None:
    assert compare(pool, "--k", "4000", "--strategies", "random") == 1
    assert not Path("reports").exists()
