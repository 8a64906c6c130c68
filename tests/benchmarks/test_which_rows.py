"""The study "which rows?": its adapter is PEFT's, its influence is that of gradients row by row, and H stays unseen."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.which_rows import run
from benchmarks.which_rows_answers import answers_of
from benchmarks.which_rows_cells import SOURCES, other_model_cells
from benchmarks.which_rows_law import law, predicted
from benchmarks.which_rows_lines import key, made
from benchmarks.which_rows_model import ALPHA, R, adapt, gradient, influences, load_model, reset, row_losses, train
from benchmarks.which_rows_other_model import run as train_other_model
from benchmarks.which_rows_picks import Rows
from benchmarks.which_rows_steps import training_steps
from benchmarks.which_rows_together import Together, train_together
from benchmarks.which_rows_weights import recommend
from curate.tokens.tokenizers import EncodedExample
from finetune.config import RunConfig
from finetune.model import attach_adapter, load_base_model
from tests.finetune.conftest import tiny_model  # noqa: F401


@pytest.fixture(scope="module")
def examples() -> list[EncodedExample]:
    rng = np.random.default_rng(0)
    return [EncodedExample(rng.integers(3, 900, size=12 + i).tolist(), 4) for i in range(5)]


def test_the_adapter_computes_what_pefts_does(tiny_model: Path, examples: list[EncodedExample]) -> None:  # noqa: F811
    config = RunConfig(model=str(tiny_model), device="cpu", load_in_4bit=False, r=R, lora_alpha=ALPHA)
    peft = attach_adapter(load_base_model(config), config)
    ours = load_model(tiny_model, "cpu", torch.float32)
    layers = adapt(ours)
    reset(layers, 0)
    theirs = dict(peft.named_parameters())
    names = [name for name in theirs if "lora_A" in name]
    assert len(names) == len(layers)
    for name, layer in zip(names, layers, strict=True):
        layer.b.data = torch.randn(layer.b.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1
        theirs[name].data = layer.a.data.clone()
        theirs[name.replace("lora_A", "lora_B")].data = layer.b.data.clone()
    ids = torch.tensor([examples[0].input_ids])
    with torch.no_grad():
        assert torch.allclose(ours(input_ids=ids).logits, peft(input_ids=ids).logits, atol=1e-5)


def test_influence_is_the_inner_product_of_gradients_row_by_row(
    tiny_model: Path,  # noqa: F811
    examples: list[EncodedExample],
) -> None:
    model = load_model(tiny_model, "cpu", torch.float32)
    layers = adapt(model)
    reset(layers, 0)
    for layer in layers:
        layer.b.data = torch.randn(layer.b.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    parameters = [p for layer in layers for p in (layer.a, layer.b)]
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn((3, *p.shape), generator=generator) for p in parameters]
    for p in parameters:
        p.requires_grad_(False)
    scores = influences(model, layers, directions, examples)
    for p in parameters:
        p.requires_grad_(True)
    tokens = [n for _, n in row_losses(model, examples, "cpu")]
    for example, n, of_row in zip(examples, tokens, scores, strict=True):
        own = gradient(model, layers, [example])
        expected = [n * sum(float((g * d[k]).sum()) for g, d in zip(own, directions, strict=True)) for k in range(3)]
        assert of_row == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_cells_trained_together_have_the_losses_and_answers_of_each_alone(tiny_model: Path) -> None:  # noqa: F811
    rng = np.random.default_rng(4)
    rows = [EncodedExample(rng.integers(3, 900, size=int(n)).tolist(), int(n) // 3) for n in rng.integers(9, 90, 70)]
    cells = [(7, rows[:60]), (8, rows[5:30])]
    together = Together(load_model(tiny_model, "cpu", torch.float32))
    adapters = train_together(together, [(seed, training_steps(own, seed)) for seed, own in cells])
    losses = together.row_losses(adapters, rows[60:])
    prompts = {"p": [5, 6, 7], "q": [8, 9, 10, 11, 12]}
    answers = answers_of(together, adapters.leaves(), prompts, 2, 6)
    alone = load_model(tiny_model, "cpu", torch.float32)
    layers = adapt(alone)
    for place, (seed, own) in enumerate(cells):
        train(alone, layers, own, seed)
        assert losses[place] == pytest.approx([total for total, _ in row_losses(alone, rows[60:], "cpu")], abs=2e-3)
        for name, prompt in prompts.items():
            settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": 2, "pad_token_id": 0}
            new = alone.generate(torch.tensor([prompt]), **settings)[0, len(prompt) :].tolist()
            ids, ended = answers[place][name]
            assert (ids, ended) == ([i for i in new if i != 2], 2 in new)


def test_the_law_finds_the_strata_whose_loss_falls_fastest() -> None:
    rng = np.random.default_rng(0)
    pool = np.full(18, 60_000.0)
    slopes = np.where(np.arange(18) % 6 == 0, 0.15, 0.03)
    truth = np.concatenate([np.full(18, 0.3), np.log(slopes), np.log([0.2, 0.05, 1.0])])
    tokens = 50_000 * rng.dirichlet(np.full(18, 1.0), size=60)
    losses = np.exp(predicted(truth, tokens, 18) + rng.normal(0, 0.005, (60, 18)))
    fitted = law(tokens, losses, pool, np.full(18, 1000.0), 150_000)
    shares = np.array(fitted["V"]["shares"])
    assert shares.sum() == pytest.approx(1) and set(np.argsort(-shares)[:3]) == {0, 6, 12}
    assert fitted["V"]["predicted_percent"] < -0.3 and fitted["V"]["rank_correlation"] > 0.8


def test_no_selector_reads_a_row_of_h(plan: Path) -> None:
    rows = Rows(plan)
    pool, held_out = set(rows.pool.tolist()), rows.held_out
    for name in ("vectors", "odds", "prompt_odds", "form"):  # what H has here would poison every pick
        if len(rows.data[name]) == len(rows.data["role"]):
            rows.data[name][held_out] = np.nan
    rows.data["lengths"][held_out] = -(10**6)
    rows.data["prompt_chars"][held_out] = -(10**6)
    rng = np.random.default_rng(3)
    names = ["V", "stop", *(f"{source} {draw}" for source in SOURCES for draw in range(20))]
    influence = {name: rng.standard_normal(len(rows.pool)) for name in names}
    for cell in rows.plan["cells"]:
        if "choose" in cell:
            continue  # becomes one of the others
        picked = rows.pick(dict(cell), influence)
        assert set(picked) <= pool
        assert picked
        if cell["budget"] is not None:
            assert sum(int(rows.data["lengths"][i]) for i in picked) <= cell["budget"]


@pytest.mark.long
def test_a_study_writes_a_line_a_cell_and_goes_on_after_a_stop(
    plan: Path,
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    own = Path(shutil.copytree(plan, tmp_path / "plan"))

    def go(cards: int) -> list[dict[str, Any]]:
        run(
            Namespace(
                plan=own, model=tiny_model, out=tmp_path, seconds=300, together=3, pickers=0, done=[], cells=None,
                without_influence=False, target_draws=None, max_steps=1, prompts=1, cards=cards,
            )
        )  # fmt: skip
        return lines_of("results")

    def lines_of(kind: str) -> list[dict[str, Any]]:
        return [json.loads(line) for file in tmp_path.glob(f"{kind}*.jsonl") for line in file.open()]

    record = json.loads((own / "cells.json").read_text())
    names = {"random", "influence as H 1", "mixture", "brief 1", "fitted for loss, near", "best on V", "cleanest"}
    some = [
        *[cell for cell in record["cells"] if cell["cell"] == "proxy"][:6],
        *[cell for cell in record["cells"] if cell["cell"] == "weighted proxy"][:9],
        *[cell for cell in record["cells"] if cell["cell"] in names and cell["draw"] in (*range(4), 10)],
    ]
    (own / "cells.json").write_text(json.dumps(record | {"cells": some}))
    first = go(1)
    assert [line["failed"] for line in first if "failed" in line] == []
    fitted = json.loads((tmp_path / "weights.json").read_text())
    assert set(fitted["loss, near"]["features"]) == set(Rows(own).feature_names())
    for file in ("results.jsonl", "prompts.jsonl", "mbpp.jsonl"):
        (tmp_path / file).rename(tmp_path / file.replace(".jsonl", "-old.jsonl"))
    kept = [line for line in first if line.get("cell") != "best on V" and line.get("draw") != 3]
    (tmp_path / "results-old.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    second = go(2)
    assert [line["failed"] for line in second if "failed" in line] == []
    keys = [(line["cell"], line["draw"]) for line in second if "cell" in line and "target" not in line]
    assert len(set(keys)) == len(keys) == 6 + 9 + 5 * 4 + 3
    cells = {(line["cell"], line["draw"]): line for line in second if "cell" in line and "target" not in line}
    assert cells["best on V", 10]["chosen"] in names
    measured = [line for name, line in cells.items() if "proxy" not in name[0]]
    assert all(len(line["H"]) == 9 and line["tokens"] <= 300 for line in measured)
    assert all(line["steered"] > 0 and len(line["V_sources"]) == 3 for line in cells.values())
    answers = lines_of("prompts")
    assert {a["key"] for a in answers} == {key(line) for line in second if made(line) and line["cell"] != "proxy"}
    assert all(list(a["answers"]) == ["p1"] for a in answers)
    assert len({a["key"] for a in lines_of("mbpp")}) == 3
    assert len(go(1)) == len(second)


def test_fitted_weights_find_what_lowers_the_loss_and_keep_to_their_reach() -> None:
    rng = np.random.default_rng(4)
    weights, luck = 0.3 * rng.standard_normal((200, 10)), np.arange(200) % 4
    slopes = np.array([0.02, -0.01, *[0.0] * 8])
    loss = np.exp(weights @ slopes + 0.004 * (weights**2).sum(1) + 0.01 * luck + 0.001 * rng.standard_normal(200))
    form = 0.5 + 0.1 * weights[:, 0] + 0.05 * weights[:, 2] + 0.005 * rng.standard_normal(200)
    names = [f"f{i}" for i in range(10)]
    found = recommend(
        [
            {
                "weights": {"features": dict(zip(names, own, strict=True))},
                "luck": mine,
                "steered": x,
                "prompts_ended": y,
            }
            for own, mine, x, y in zip(weights, luck, loss, form, strict=True)
        ]
    )
    assert found["fit"]["loss"]["rank_correlation"] > 0.9 and found["fit"]["form"]["rank_correlation"] > 0.9
    near = np.array(list(found["loss, near"]["features"].values()))
    length = 0.3 * np.sqrt(10)
    assert np.linalg.norm(near) <= 0.6 * length + 1e-3
    cosine = -near @ slopes / np.linalg.norm(near) / np.linalg.norm(slopes)
    assert cosine > 0.98
    expected = 100 * np.expm1(slopes @ near + 0.004 * near @ near)
    assert found["loss, near"]["predicted_percent"] == pytest.approx(expected, abs=0.05)
    cleaner = np.array(list(found["form, far"]["features"].values()))  # the first feature costs loss, the third none
    assert found["form, far"]["predicted_percent"] <= 0.01 and found["form, far"]["predicted_points"] > 2
    assert cleaner[2] > cleaner[0]
    assert found["both, far"]["predicted_percent"] <= 0.5 * found["loss, far"]["predicted_percent"] + 0.01


def test_another_model_is_trained_by_the_same_recipe_cell_by_cell_and_goes_on_after_a_stop(
    plan: Path,
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    own = Path(shutil.copytree(plan, tmp_path / "plan"))
    record = json.loads((own / "cells.json").read_text())
    cells = list(other_model_cells(1, 300))

    def go(n_cells: int) -> list[dict[str, Any]]:
        (own / "cells.json").write_text(json.dumps(record | {"cells": cells[:n_cells]}))
        asked = {"plan": own, "model": tiny_model, "out": tmp_path, "seconds": 300, "dtype": "float32"}
        train_other_model(Namespace(**asked, max_steps=None))
        return [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]

    first = go(1)
    lines = go(len(cells))
    assert lines[:1] == first
    assert [(c["cell"], c.get("target")) for c in lines] == [
        *((name, None) for name in ("random", "shortest", "kmeans", "well-formed 1")),
        *((name, source) for source in SOURCES for name in ("target-words", "only that source")),
    ]
    assert len({tuple(line["H"]) for line in lines}) == 10
    rows = Rows(own)
    alone = load_model(tiny_model, "cpu", torch.float32)
    train(alone, adapt(alone), [rows.examples[i] for i in lines[1]["rows"]], 0)
    expected = [total for total, _ in row_losses(alone, [rows.examples[i] for i in rows.held_out], "cpu")]
    assert lines[1]["H"] == pytest.approx(expected, abs=2e-3)
