"""`finetune influence`: exact inner products, scores by content, held-out rows unseen, taken up after a kill."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from curate.cli import main as curate
from curate.scores.influence_record import read_influence
from curate.selection.record import read_selection
from curate.tokens.tokenizers import EncodedExample
from finetune.cli import main as finetune
from finetune.config import RunConfig
from finetune.influence.gradients import adapter_layers, mean_gradient, row_influences
from finetune.influence.recipe import Task
from finetune.model import attach_adapter, load_base_model
from tests.finetune.conftest import QUICK, made_selection, selection, tiny_model  # noqa: F401


def test_a_rows_influence_is_the_inner_product_of_its_gradient_with_the_direction(tiny_model: Path) -> None:  # noqa: F811
    config = RunConfig(model=str(tiny_model), device="cpu", load_in_4bit=False, r=4)
    model = attach_adapter(load_base_model(config), config)
    layers = adapter_layers(model)
    generator = torch.Generator().manual_seed(0)
    for layer in layers:
        layer.weight.data = torch.randn(layer.weight.shape, generator=generator) * 0.1
    direction = [torch.randn(layer.weight.shape, generator=generator) for layer in layers]
    rows = [EncodedExample(list(range(5, 15 + n)), 3) for n in range(4)]
    scores = row_influences(model, layers, direction, rows, 0)
    for row, score in zip(rows, scores, strict=True):
        own = mean_gradient(model, layers, [row], 0)
        product = sum(float((g * d).sum()) for g, d in zip(own, direction, strict=True))
        assert score == pytest.approx((len(row.input_ids) - row.prompt_length) * product, rel=1e-3, abs=1e-4)
    assert len(layers) == 2 * 14  # A and B of seven modules in each of two layers


def scored(selection: Path, out: Path, *more: str) -> Any:  # noqa: F811
    assert (
        finetune(["influence", "--selection", str(selection), "--out", str(out), "--checkpoints", "2", *more, *QUICK])
        == 0
    )
    return read_influence(out)


@pytest.mark.long
def test_rows_are_scored_by_content_and_picked_by_it_and_no_held_out_row_is_read(
    selection: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "home"))
    made = read_selection(selection)
    wanted = tmp_path / "wanted.jsonl"
    leaked = {"instruction": made.holdout[0].instruction, "output": made.holdout[0].output}
    own = {"instruction": "sort a list", "output": "def sort_list(x):\n    return sorted(x)\n"}
    wanted.write_text(json.dumps(own) + "\n" + json.dumps(leaked) + "\n")
    seen: set[str] = set()

    def watched(tokenizer: Any, chosen: Any, rows: Any) -> Any:
        seen.update(row.row_id for row in rows)
        return encode(tokenizer, chosen, rows)

    from finetune.influence.recipe import encode_rows as encode

    monkeypatch.setattr("finetune.influence.recipe.encode_rows", watched)
    result = scored(selection, tmp_path / "scores", "--target", str(wanted))
    told = shlex.split(capsys.readouterr().err.partition("Pick by them: curate ")[2])
    assert curate(told) == 0
    own_picks = read_selection(capsys.readouterr().out.strip())
    assert own_picks.manifest.config["strategy"] == "influence" and len(own_picks.selected) == 40
    assert own_picks.holdout_digest == made.holdout_digest
    held_out = {row.row_id for row in made.holdout}
    assert len(held_out) == 10 and not held_out & seen and not held_out & set(result.scores)
    assert result.manifest.counts == {"rows": 90, "target_rows": 1, "reference_rows": 40}
    assert len(set(result.scores.values())) > 80
    rows = made.manifest.config["dataset"]
    pool = [
        "--dataset",
        rows,
        "--model",
        made.manifest.config["model"],
        "--encoder",
        "tfidf",
        "--near-duplicate",
        "0.999",
    ]
    by_scores = ["--k", "12", "--strategy", "influence", "--influence", str(tmp_path / "scores")]
    code = curate(["select", *pool, *by_scores, "--out", str(tmp_path / "s")])
    assert code == 0
    picked = [result.scores[row.row_id] for row in read_selection(tmp_path / "s").selected]
    rest = [score for row_id, score in result.scores.items() if score not in picked]
    assert sorted(picked, reverse=True) == picked
    assert sum(score > min(picked) for score in rest) == 0


@pytest.mark.long
def test_what_a_killed_call_scored_is_taken_up_and_a_finished_one_reused(
    selection: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROWPICK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("finetune.influence.recipe.SAVED_TOGETHER", 16)
    calls: list[int] = []

    def dies(*given: Any) -> Any:
        calls.append(len(given[3]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return row_influences(*given)

    monkeypatch.setattr("finetune.influence.recipe.row_influences", dies)
    monkeypatch.setattr("finetune.influence.recipe.APART", 10)
    command = ["influence", "--selection", str(selection), "--checkpoints", "2", *QUICK]
    assert finetune([*command, "--out", str(tmp_path / "a")]) == 130
    assert not (tmp_path / "a" / "manifest.json").exists()
    monkeypatch.setattr("finetune.influence.recipe.train_reference", lambda *_: pytest.fail("trained again"))
    again = scored(selection, tmp_path / "a")
    # 80 rows in blocks of 16, two checkpoints each; the first block was saved, the second was cut off.
    assert calls == [16, 16, 16, 16] + [16] * 8
    assert again.manifest.counts["rows"] == 80
    monkeypatch.setattr("finetune.influence.recipe.row_influences", lambda *_: pytest.fail("scored again"))
    assert scored(selection, tmp_path / "a").scores == again.scores
    assert scored(selection, tmp_path / "b").scores == again.scores
    assert finetune(["verify", str(tmp_path / "a")]) == 0
    (tmp_path / "a" / "scores.jsonl").write_text("")
    assert finetune(["verify", str(tmp_path / "a")]) == 1


def test_scores_of_another_template_bound_or_base_model_are_other_scores(
    selection: Path,  # noqa: F811
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = RunConfig(model=str(model), device="cpu", load_in_4bit=False)
    made = read_selection(selection)
    task = Task([], [], made.selected)

    def digest(settings: RunConfig = config, **recorded: Any) -> str:
        manifest = made.manifest.model_copy(update={"config": made.manifest.config | recorded})
        return task.digest(settings, replace(made, manifest=manifest), 3)

    first = digest()
    assert digest() == first == digest(max_tokens=made.manifest.config["max_tokens"])
    others = {digest(prompt_template_text="Q: {instruction}"), digest(max_tokens=64), digest(tokenizer_digest="t")}
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 0.5}))
    assert len({first, *others, digest()}) == 5
    before = digest()
    words = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = words["model"]["vocab"]
    one, other = list(vocabulary)[300:302]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (model / "tokenizer.json").write_text(json.dumps(words), encoding="utf-8")
    assert digest() != before


def test_a_target_of_instructions_alone_cannot_be_learned_for(
    selection: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"instruction": "sort a list"}\n')
    assert finetune(["influence", "--selection", str(selection), "--target", str(prompts), *QUICK]) == 1
    assert "use --strategy target-words" in capsys.readouterr().err
