"""`evalsuite mixture` and `evalsuite best-of-draws` with a tiny model: resumed, a failing run named, H unseen."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.artifact import cache_dir
from curate.cli import main as curate
from curate.scores.draws_record import draws_dir, read_draws
from curate.scores.mixture_record import Mixture, mixtures_dir, read_mixture
from curate.selection.record import read_decisions, read_selection
from evaluate_suite.cli import main as evalsuite
from evaluate_suite.mixture import proxies
from evaluate_suite.mixture.proxies import Job
from finetune.recipe import train
from tests.finetune.conftest import QUICK, SUBJECTS, VERBS, tiny_model  # noqa: F401

TINY = [*QUICK, "max_steps=2", "eval_rows=2", "max_length=256"]


@pytest.fixture(scope="module")
def base(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:  # noqa: F811
    """A home, and the options that every command here has: 200 rows of two sources, each with a mark of its own."""
    folder = tmp_path_factory.mktemp("proxies")
    rows = [
        {"instruction": f"{verb} a {subject} {i % 2}", "source": "ab"[i % 2],
         "output": f"def {verb}_{subject}(mark{i:03}):\n    return {verb}(x)\n" * (1 + i % 3)}
        for i, (verb, subject) in enumerate((v, s) for v in VERBS for s in SUBJECTS for _ in range(2))
    ]  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [
        "--dataset", str(folder / "rows.jsonl"), "--model", str(tiny_model), "--encoder", "tfidf",
        "--near-duplicate", "0.999", "--k", "20",
    ]  # fmt: skip
    yield folder / "home", options


@pytest.fixture
def options(base: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    monkeypatch.setenv("ROWPICK_HOME", str(base[0]))
    monkeypatch.chdir(tmp_path)
    return base[1]


def held_out(options: list[str], out: Path) -> tuple[set[str], set[str]]:
    """The ids and the marks of the rows that are held out."""
    assert curate(["select", *options, "--strategy", "random", "--out", str(out)]) == 0
    holdout = read_selection(out).holdout
    assert len(holdout) == 20
    return {row.row_id for row in holdout}, {row.output.split("(")[1][:7] for row in holdout}


def picked_ids(options: list[str], out: Path, *more: str) -> list[str]:
    assert curate(["select", *options, "--coordinated", "--out", str(out), *more]) == 0
    return [row.row_id for row in read_selection(out).selected]


@pytest.mark.long
def test_the_best_of_draws_is_kept_and_no_run_sees_a_held_out_row(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids, marks = held_out(options, tmp_path / "first")
    monkeypatch.setattr(proxies, "rmtree", lambda folder: None)  # what the runs read stays to be looked at
    assert evalsuite(["best-of-draws", *options, "--draws", "3", *TINY]) == 0
    told = capsys.readouterr().err
    assert "3 proxy runs, 0 finished already, 3 to train." in told
    draws = read_draws(next(draws_dir().iterdir()))
    record = draws.record
    losses = [draw.loss for draw in record.draws]
    assert len(set(losses)) == 3 and record.best == losses.index(min(losses))
    assert record.judged_by == "loss a token over 18 rows of the pool, kept apart"

    files = [path for path in cache_dir("proxies").rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"rows.jsonl", "selected.jsonl", "holdout.jsonl", "history.jsonl", "decisions.parquet"} <= names
    for path in files:
        assert not any(mark.encode() in path.read_bytes() for mark in marks), path
    for selection in {path.parent for path in files if path.name == "selected.jsonl"}:
        read = read_selection(selection)
        assert not ids & {row.row_id for row in [*read.selected, *read.holdout]}
    apart = {row.row_id for row in read.holdout}
    picks = picked_ids(options, tmp_path / "s", "--strategy", "best-of-draws", "--draws", draws.path.name)
    assert picks == list(draws.place_of)
    assert not apart & set(picks)

    draws_option = ["--strategy", "best-of-draws", "--draws", draws.path.name]
    assert curate(["select", *options, *draws_option, "--k", "21"]) == 1
    assert "were trained with --k 20, and this selection has --k 21" in capsys.readouterr().err
    assert curate(["select", *options, "--holdout", "4", *draws_option]) == 0
    assert evalsuite(["verify", draws.path.name]) == 0
    (draws.path / "picked.jsonl").write_text("")
    assert curate(["select", *options, *draws_option, "--seed", "1"]) == 1


@pytest.mark.long
@pytest.mark.parametrize(("by", "runs"), [(["--by", "strata", "--clusters", "1"], 10), ([], 16)])
def test_a_mixture_is_resumed_names_a_run_that_fails_and_is_not_believed_below_its_bound(
    options: list[str],
    by: list[str],
    runs: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["mixture", *options, *by, "--proxies", str(runs), *TINY]
    before = set(mixtures_dir().glob("*"))
    _, marks = held_out(options, tmp_path / "first")
    faults: dict[int, BaseException] = {3: RuntimeError("out of memory"), 6: KeyboardInterrupt()}
    calls: list[str] = []

    def breaks(*given: Any) -> Any:
        calls.append("trained")
        if len(calls) in faults:
            raise faults[len(calls)]
        return train(*given)

    monkeypatch.setattr(proxies, "train", breaks)
    assert evalsuite(command) == 130  # killed at the sixth run
    assert evalsuite([*command, "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert f"{runs} proxy runs, 4 finished already, {runs - 4} to train." in told
    assert ("16 proxy runs are few for 14 features: --proxies 112 has 8 for each." in told) == (by == [])
    calls.clear()
    faults = {1: RuntimeError("out of memory")}
    assert evalsuite(command) == 1
    told = capsys.readouterr().err
    assert f"1 of {runs} proxy runs failed: proxy run 2: RuntimeError: out of memory" in told
    assert set(mixtures_dir().glob("*/manifest.json")) == {folder / "manifest.json" for folder in before}

    monkeypatch.setattr(proxies, "train", train)
    assert evalsuite([*command, "--min-correlation", "1"]) == 1
    told = capsys.readouterr()
    assert f"{runs} proxy runs, {runs - 1} finished already, 1 to train." in told.err
    assert "is not to be believed: its cross-validated rank correlation is" in told.err
    refused = read_mixture(told.out.strip())
    assert curate(["select", *options, "--strategy", "mixture", "--mixture", refused.path.name]) == 1
    assert "is not to be believed" in capsys.readouterr().err

    monkeypatch.setattr(proxies, "train", lambda *_: pytest.fail("trained again"))
    assert evalsuite([*command, "--min-correlation", "-1", "--json"]) == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert len(record["proxies"]) == runs
    believed = next(read_mixture(m) for m in mixtures_dir().iterdir() if m not in {*before, refused.path})
    assert len(believed.value_of) == 200 - 20 - 18
    other = ["--by", "features" if by else "strata", "--proxies", "16", "--out", str(believed.path), *TINY]
    assert evalsuite(["mixture", *options, *other]) == 1
    assert "holds another mixture" in capsys.readouterr().err
    assert not any(
        mark.encode() in path.read_bytes()
        for path in cache_dir("proxies").rglob("*")
        if path.is_file()
        for mark in marks
    )

    picks = picked_ids(options, tmp_path / "s", "--strategy", "mixture", "--mixture", believed.path.name)
    assert set(picks) <= set(believed.value_of)
    if by:
        assert_shares(record, believed, picks)
    else:
        assert_weights(record, believed, tmp_path / "s")


def assert_shares(record: dict[str, Any], believed: Mixture, picks: list[str]) -> None:
    """A mixture by strata: shares of runs and of the answer add up, and strata with a large one were picked from."""
    assert (record["by"], record["features"], len(record["strata"]) >= 4) == ("strata", [], True)
    assert sum(stratum["share"] for stratum in record["strata"]) == pytest.approx(1)
    assert sum(stratum["rows"] for stratum in record["strata"]) == len(believed.value_of)
    for run in record["proxies"]:
        assert sum(run["shares"]) == pytest.approx(1)
    by_stratum = [sum(believed.value_of[row_id] == s for row_id in picks) for s in range(len(record["strata"]))]
    assert all(n > 0 for n, s in zip(by_stratum, record["strata"], strict=True) if s["share"] > 0.15)


def assert_weights(record: dict[str, Any], believed: Mixture, selection: Path) -> None:
    """A mixture by features: as many weights as features, within reach, and rows picked by what they add up to."""
    weights = [feature["weight"] for feature in record["features"]]
    assert (record["by"], record["strata"], len(weights)) == ("features", [], 14)
    assert all(len(run["weights"]) == 14 for run in record["proxies"])
    assert 0 < math.hypot(*weights) <= 0.6 * 0.3 * math.sqrt(14) + 1e-9
    assert record["law"]["predicted_loss"] < record["law"]["predicted_pool_loss"]
    reasons = {row["row_id"]: row["detail"] for row in read_decisions(read_selection(selection)).to_pylist()}
    for row in read_selection(selection).selected:
        weight = math.exp(believed.value_of[row.row_id])
        assert reasons[row.row_id].startswith(f"drawn with weight {weight:.2f} by its source, length, ")


def test_no_proxy_run_can_pick_a_row_of_the_target_that_judges_it(
    options: list[str],
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    from curate.config import SelectConfig
    from evaluate_suite.mixture.world import build_world

    rows = Path(options[1]).read_text().splitlines(keepends=True)
    (tmp_path / "target.jsonl").write_text("".join(rows[:40]))
    config = SelectConfig(
        dataset=options[1], model=str(tiny_model), encoder="tfidf", near_duplicate=0.999, k=20,
        target=str(tmp_path / "target.jsonl"),
    )  # fmt: skip
    world = build_world(config, 5)
    judges = {row.row_id for row in world.judges}
    assert 30 < len(judges) <= 40  # those that are not held out
    assert not judges & set(world.row_ids)
    assert len(world.row_ids) == 200 - 20 - len(judges) - 5


def test_a_job_is_known_by_what_decides_its_result() -> None:
    from curate.config import SelectConfig
    from finetune.config import RunConfig

    one = Job(0, Path("w"), SelectConfig(dataset="a"), RunConfig(), [], "pool", "shares")
    assert one.identity == Job(1, Path("v"), SelectConfig(dataset="b"), RunConfig(), [], "pool", "shares").identity
    others = [
        Job(0, Path("w"), SelectConfig(dataset="a", seed=1), RunConfig(), [], "pool", "shares"),
        Job(0, Path("w"), SelectConfig(dataset="a"), RunConfig(seed=1), [], "pool", "shares"),
        Job(0, Path("w"), SelectConfig(dataset="a"), RunConfig(), [], "other", "shares"),
        Job(0, Path("w"), SelectConfig(dataset="a"), RunConfig(), [], "pool", "others"),
    ]
    assert len({each.identity for each in [one, *others]}) == 5


def test_a_job_is_another_where_the_weights_of_its_base_model_were_replaced(tmp_path: Path) -> None:
    from curate.config import SelectConfig
    from finetune.config import RunConfig

    identities = set()
    for weights in (b"first", b"second", b"first"):
        (tmp_path / "model.safetensors").write_bytes(weights)
        recipe = RunConfig(model=str(tmp_path))
        identities.add(Job(0, tmp_path, SelectConfig(dataset="a"), recipe, [], "pool", "shares").identity)
    assert len(identities) == 2


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["mixture", "--by", "strata", "--proxies", "9"], "--proxies is 9; it must be at least 10."),
        (["mixture", "--proxies", "15"], "--proxies is 15; it must be at least 16."),
        (["mixture", "--by", "feature"], '--by is "feature". Did you mean "features"?'),
        (["mixture", "--clusters", "2"], "--clusters is of strata, and this mixture is by features."),
        (["mixture", "--aim", "row"], '--aim is "row". Did you mean "rows"?'),
        (["mixture", "--spread", "0"], "--spread is 0; allowed: above 0, up to 3."),
        (["mixture", "--min-correlation", "2"], "--min-correlation is 2; allowed: -1 to 1."),
        (["mixture", "--k", "9", "--token-budget", "9"], "--k and --token-budget are both given."),
        (["best-of-draws", "--draws", "1"], "--draws is 1; it must be at least 2."),
        (["best-of-draws", "--strategy", "mixture"], "--strategy mixture is itself made of proxy runs."),
        (["best-of-draws", "--strategy", "rds"], "Strategy rds picks near a target set, and there is none."),
        (["best-of-draws", "--strategy", "kmean"], 'Unknown strategy "kmean". Did you mean "kmeans"?'),
    ],
)
def test_what_is_wrong_in_itself_exits_2_before_any_work(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evalsuite([*command, "--preset", "cpu-demo"]) == 2
    assert message in capsys.readouterr().err
