"""A mixture or draws made before are used for the same pool, model and size alone, and no damaged file is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.artifact import record_file, write_jsonl, write_manifest
from curate.cli import main
from curate.config import SelectConfig
from curate.errors import UserError
from curate.scores import draws_record, mixture_record
from curate.scores.content import made_before_digests
from curate.scores.draws_record import Draw, DrawsRecord
from curate.scores.made_for import MadeFor
from curate.scores.mixture_record import (
    Feature,
    MixingLaw,
    MixtureRecord,
    ProxyRun,
    Stratum,
    WeightsLaw,
    read_mixture,
)
from curate.selection.record import Selection, read_selection
from curate.sources import load_rows
from tests.curate.test_pipeline import rows

SELECT = ["--tokenizer", "smollm2-135m", "--encoder", "tfidf", "--near-duplicate", "0.999", "--k", "60"]


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return str(path)


@pytest.fixture
def first(dataset: str, tmp_path: Path) -> Selection:
    assert (
        main(["select", "--dataset", dataset, *SELECT, "--strategy", "random", "--out", str(tmp_path / "first")]) == 0
    )
    return read_selection(tmp_path / "first")


def made_for(first: Selection) -> MadeFor:
    config = first.manifest.config
    return MadeFor(
        pool_digest=config["pool_digest"], held_out=len(first.holdout), model=config["model"],
        tokenizer_digest=config["tokenizer_digest"],
    )  # fmt: skip


def finish(folder: Path, kind: str, name: str, files: list[str]) -> Path:
    write_manifest(
        folder, kind=kind, command=[], config={f"{name}_digest": "d"}, seed=0, inputs=[],
        outputs=[record_file(folder, file) for file in files], counts={}, seconds={},
    )  # fmt: skip
    return folder


def written_mixture(first: Selection, folder: Path, correlation: float = 0.6) -> Path:
    """A mixture whose first stratum, Rust, is to give all tokens."""
    law = MixingLaw(
        intercept=0.0, coefficients=[0.0, 0.0], floor=0.005, alpha=1.0, rank_correlation=correlation,
        min_correlation=0.5, predicted_loss=1.0, predicted_pool_loss=1.1,
    )  # fmt: skip
    strata = [
        Stratum(name=name, rows=1, tokens=1, pool_share=0.5, share=share) for name, share in (("Rust", 1), ("rest", 0))
    ]
    folder.mkdir()
    MixtureRecord(made_for=made_for(first), strata=strata, judged_by="made", law=law).write(folder)
    lines = read_lines(first)
    write_jsonl(folder / "strata.jsonl", ({"row_id": row, "stratum": int("Rust" not in text)} for row, text in lines))
    return finish(folder, mixture_record.KIND, "mixture", ["mixture.json", "strata.jsonl"])


def written_weights(first: Selection, folder: Path, correlation: float = 0.6) -> Path:
    """A mixture by features in which rows about Rust weigh a thousand times as much as others; one row has none."""
    law = WeightsLaw(
        level=0.0, slopes=[-0.1], curvature=0.0, alpha=1.0, rank_correlation=correlation, min_correlation=0.5,
        predicted_loss=1.0, predicted_pool_loss=1.1,
    )  # fmt: skip
    folder.mkdir()
    MixtureRecord(
        made_for=made_for(first), by="features", features=[Feature(name="source Rust", weight=6.9)], judged_by="made",
        law=law, proxies=[ProxyRun(number=0, weights=[0.3], loss=1.0)],
    ).write(folder)  # fmt: skip
    lines = read_lines(first)[1:]
    write_jsonl(
        folder / "weights.jsonl", ({"row_id": row, "log_weight": 6.9 * ("Rust" in text)} for row, text in lines)
    )
    return finish(folder, mixture_record.KIND, "mixture", ["mixture.json", "weights.jsonl"])


def read_lines(first: Selection) -> list[tuple[str, str]]:
    held = {row.row_id for row in first.holdout}
    return [
        (row.row_id, row.instruction)
        for row in load_rows(first.manifest.config["dataset"]).rows
        if row.row_id not in held
    ]


def written_draws(first: Selection, folder: Path) -> Path:
    folder.mkdir()
    DrawsRecord(
        made_for=made_for(first), strategy="random", strategy_options={}, k=60, token_budget=None, judged_by="made",
        draws=[Draw(number=0, rows=60, tokens=1, loss=1.0)], best=0, mean=1.0, spread=0.0,
    ).write(folder)  # fmt: skip
    write_jsonl(folder / "picked.jsonl", ({"row_id": row.row_id} for row in first.selected))
    return finish(folder, draws_record.KIND, "draws", ["draws.json", "picked.jsonl"])


def test_a_mixture_and_a_draw_are_picked_from_the_same_pool_in_any_order(
    first: Selection, dataset: str, tmp_path: Path
) -> None:
    lines = Path(dataset).read_text().splitlines(keepends=True)
    Path(dataset).write_text("".join(lines[::-1]))
    mixture, draws = written_mixture(first, tmp_path / "m"), written_draws(first, tmp_path / "d")
    command = ["select", "--dataset", dataset, *SELECT]
    assert main([*command, "--strategy", "mixture", "--mixture", str(mixture), "--out", str(tmp_path / "a")]) == 0
    assert all("Rust" in row.instruction for row in read_selection(tmp_path / "a").selected)
    assert main([*command, "--strategy", "best-of-draws", "--draws", str(draws), "--out", str(tmp_path / "b")]) == 0
    assert read_selection(tmp_path / "b").selected == first.selected


def test_a_mixture_by_features_is_read_and_picked_by(
    first: Selection, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = written_weights(first, tmp_path / "w")
    mixture = read_mixture(weights)
    assert (mixture.record.by, mixture.record.strata) == ("features", [])
    assert isinstance(mixture.record.law, WeightsLaw) and mixture.record.proxies[0].shares == []
    unweighted = read_lines(first)[0][0]
    scores = mixture.of_rows([row for row in load_rows(dataset).rows if row.row_id in {unweighted, *mixture.value_of}])
    assert list(scores) == ["log_weight"] and np.isnan(scores["log_weight"]).sum() == 1

    command = ["select", "--dataset", dataset, *SELECT, "--strategy", "mixture", "--mixture"]
    assert main([*command, str(weights), "--out", str(tmp_path / "a")]) == 0
    picked = read_selection(tmp_path / "a").selected
    rust = sum("Rust" in text for _, text in read_lines(first))
    assert sum("Rust" in row.instruction for row in picked) >= min(60, rust) - 3
    assert unweighted not in {row.row_id for row in picked}
    capsys.readouterr()
    assert main([*command, str(written_weights(first, tmp_path / "n", 0.36))]) == 1
    assert "More --proxies or a larger --spread can raise it; or take random." in capsys.readouterr().err


def test_what_was_made_for_something_else_is_refused_with_the_next_step(
    first: Selection, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture, draws = written_mixture(first, tmp_path / "m"), written_draws(first, tmp_path / "d")
    command = ["select", "--dataset", dataset, *SELECT, "--strategy", "mixture", "--mixture", str(mixture)]
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("".join(Path(dataset).read_text().splitlines(keepends=True)[1:]))

    def refused(words: list[str], code: int = 1) -> str:
        assert main(words) == code
        return capsys.readouterr().err

    assert "m was made for another pool" in refused([*command, "--dataset", str(fewer)])
    assert "m was made for meta-llama/Llama-2-7b-hf, not smollm2-135m." in refused(
        [*command, "--model", "smollm2-135m"]
    )
    held = made_for(first).model_copy(update={"held_out": 40})
    with pytest.raises(Exception, match="--holdout now reserves 48: it has seen the others"):
        held.require("m", "evalsuite mixture", made_for(first))
    made_for(first).require("m", "evalsuite mixture", held)
    doubtful = written_mixture(first, tmp_path / "n", correlation=0.36)
    assert "its cross-validated rank correlation is 0.36, below 0.5" in refused([*command, "--mixture", str(doubtful)])
    best = ["select", "--dataset", dataset, *SELECT, "--strategy", "best-of-draws", "--draws", str(draws)]
    assert "were trained with --k 60, and this selection has --k 61" in refused([*best, "--k", "61"])
    assert "rows of the best draw" in refused([*best, "--max-tokens", "20"])
    assert "takes no --mixture" in refused(["select", "--strategy", "random", "--mixture", "m"], 2)
    assert "Make them with `evalsuite best-of-draws`" in refused(["select", "--strategy", "best-of-draws"], 2)
    (draws / "picked.jsonl").write_text("")
    assert "picked.jsonl" in refused(best)


def test_a_damaged_file_of_what_a_selection_was_made_by_stops_its_reuse_as_it_stops_a_new_one(
    first: Selection, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture = written_mixture(first, tmp_path / "m")
    command = ["select", "--dataset", dataset, *SELECT, "--strategy", "mixture", "--mixture", str(mixture)]
    assert main(command) == 0
    made = capsys.readouterr().out
    config = SelectConfig(mixture=str(mixture), draws=str(written_draws(first, tmp_path / "d")))
    digests = made_before_digests(config)
    assert digests == [json.loads((tmp_path / each / "manifest.json").read_text())["manifest_digest"] for each in "md"]
    whole = (mixture / "strata.jsonl").read_bytes()
    (mixture / "strata.jsonl").write_text("")
    for words in (command, [*command, "--seed", "1"]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert f"{mixture / 'strata.jsonl'} is not the file" in said
        assert "Make it again: evalsuite mixture" in said
    (mixture / "strata.jsonl").write_bytes(whole)
    assert main(command) == 0
    assert capsys.readouterr().out == made


def test_a_manifest_of_a_mixture_without_its_digest_was_changed(first: Selection, tmp_path: Path) -> None:
    mixture = written_mixture(first, tmp_path / "m")
    manifest = json.loads((mixture / "manifest.json").read_text())
    del manifest["manifest_digest"]
    (mixture / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"m/manifest\.json was changed after it was written"):
        made_before_digests(SelectConfig(mixture=str(mixture)))


def test_fitting_the_words_again_on_the_best_rows_finds_more_rows_of_the_targets_kind(
    dataset: str, tmp_path: Path
) -> None:
    target = tmp_path / "target.jsonl"
    target.write_text(json.dumps({"instruction": "pop a heap in Rust", "output": "pop() -- Rust"}) + "\n")
    command: list[Any] = ["select", "--dataset", dataset, *SELECT, "--k", "100", "--target", str(target), "--out"]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert main([*command, str(tmp_path / "b"), "--strategy-option", "rounds=2"]) == 0
    once, again = (
        sum("Rust" in row.instruction for row in read_selection(tmp_path / name).selected) for name in ("a", "b")
    )
    assert again >= once >= 95
