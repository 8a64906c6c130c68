"""Settings become a command line in one place; what it writes, the program reads back as the same settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import curate.cli
import evaluate_suite.cli
from curate.command_line import CommandConfig
from curate.config import CompareConfig, SelectConfig
from evaluate_suite.config import BestOfDrawsConfig, ExecuteConfig, MixtureConfig, ReportConfig, StudyConfig

RECIPES: dict[type[CommandConfig], tuple[Callable[[Sequence[str] | None], int], str]] = {
    SelectConfig: (curate.cli.main, "curate.pipeline.select"),
    CompareConfig: (curate.cli.main, "curate.comparison.recipe.compare"),
    ReportConfig: (evaluate_suite.cli.main, "evaluate_suite.reporting.recipe.report"),
    ExecuteConfig: (evaluate_suite.cli.main, "evaluate_suite.execution.recipe.execute"),
    StudyConfig: (evaluate_suite.cli.main, "evaluate_suite.study.request.build_request"),
    MixtureConfig: (evaluate_suite.cli.main, "evaluate_suite.mixture.request.mixture_request"),
    BestOfDrawsConfig: (evaluate_suite.cli.main, "evaluate_suite.mixture.request.draws_request"),
}
OF_PROXIES: dict[str, Any] = {
    "dataset": "rows.jsonl", "model": "a/b", "encoder": "static", "k": 9, "token_budget": 900, "max_tokens": 77,
    "holdout": 5, "near_duplicate": 0.9, "target": "t.jsonl", "apart": 40, "seed": 3, "preset": "cpu-demo",
    "config": Path("c.yaml"), "runner": "ray", "workers": "3", "ray_address": "auto", "gpu_share": 0.5,
    "out": Path("o"), "dry_run": True, "as_json": True, "overrides": ("r=8", "lora_alpha=4"),
}  # fmt: skip
EVERY_SETTING = [
    SelectConfig(),
    SelectConfig(
        dataset="rows with a blank.jsonl", model="a/b", tokenizer="./t", prompt_template="chat", strategy="mmr",
        columns="instruction=q,output=a", strategy_options={"relevance": 0.25}, encoder="static", embed="both",
        batch_size=7, k=12, token_budget=900, min_tokens=3, max_tokens=77, holdout=5, near_duplicate=0.9,
        subset="python", split="train", first=40, system="keep", turns="last",
        keep_where=("license=mit", "language=python"), pick_where=("source=a,b",), cap=("source=0.5", "license=0.9"),
        clean=("empty", "parse"), keep="earlier", vectors="v.npy",
        decontaminate=("a.jsonl", "b.jsonl"), clusters=4, coordinated=True, seed=9,
    ),
    SelectConfig(strategy="rds", target="target.jsonl", clean=()),
    SelectConfig(strategy="ifd", score_model="./small"),
    SelectConfig(strategy="influence-classifier", target="target.jsonl", influence="scores"),
    SelectConfig(strategy="mixture", mixture="shares"),
    SelectConfig(strategy="best-of-draws", draws="trained"),
    CompareConfig(strategies=("random", "mmr"), options={"relevance": 0.25}, pool=SelectConfig(k=5, clean=(), seed=2)),
    ReportConfig(),
    ReportConfig(
        runs=("one", "two"), prompts=Path("p.jsonl"), max_new_tokens=9, tasks=Path("t.jsonl"), execute=True,
        engine="plain", backend="unshare", by="source",
    ),
    ExecuteConfig(tasks=Path("humaneval"), generations=Path("g.jsonl")),
    ExecuteConfig(
        tasks=Path("t.jsonl"), generations=Path("g.jsonl"), out=Path("r.jsonl"), execute=True, style="raw",
        cut_at_function=True, cpu_seconds=1.5, workers=3, judge="together", backend="none", unsafe_local=True,
    ),
    ExecuteConfig(tasks=Path("t.jsonl"), reference=True),
    StudyConfig(),
    StudyConfig(random_budgets=()),
    MixtureConfig(),
    MixtureConfig(by="strata", proxies=12, clusters=3, spread=0.5, aim="sources", min_correlation=0.25, **OF_PROXIES),
    BestOfDrawsConfig(),
    BestOfDrawsConfig(draws=8, strategy="mmr", strategy_options=("relevance=0.25",), **OF_PROXIES),
    StudyConfig(file=Path("study.yaml"), out=Path("o"), wandb="offline", dry_run=True, as_json=True),
    StudyConfig(
        strategies=("random", "mmr"), strategy_options=("relevance=0.25",), target=("t.jsonl", "u.jsonl"),
        draws=4, seeds=2, k=9,
        token_budget=900, random_budgets=(50, 100), dataset="rows.jsonl", model="a/b", encoder="static", max_tokens=77,
        holdout=5, near_duplicate=0.9, preset="cpu-demo", config=Path("c.yaml"), prompts=Path("p.jsonl"),
        max_new_tokens=8, by="none", runner="ray", workers="3", ray_address="auto", gpu_share=0.5,
        overrides=("r=8", "lora_alpha=4"),
    ),
]  # fmt: skip


class Asked(Exception):
    """Carries the settings that a command handed to its recipe."""


@pytest.mark.parametrize("config", EVERY_SETTING, ids=lambda config: " ".join(config.as_command())[:60])
def test_a_command_line_made_from_settings_is_read_back_as_the_same_settings(
    config: CommandConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, recipe = RECIPES[type(config)]

    def stop(asked: CommandConfig, *_: Any, **__: Any) -> None:
        raise Asked(asked)

    monkeypatch.setattr(recipe, stop)
    with pytest.raises(Asked) as caught:
        main(config.as_command()[1:])
    assert caught.value.args[0] == config


def test_the_settings_above_differ_from_the_defaults_in_every_field() -> None:
    for kind in RECIPES:
        cases = [config for config in EVERY_SETTING if type(config) is kind]
        for name, field in kind.model_fields.items():
            default = field.get_default(call_default_factory=True)
            assert any(getattr(config, name) != default for config in cases), f"{kind.__name__}.{name}"


@pytest.mark.parametrize(
    ("main", "words", "option"),
    [
        (curate.cli.main, ["select", "--dataset", "stdlib", "--near-duplicate"], "--near-duplicate"),
        (curate.cli.main, ["compare", "--dataset", "stdlib", "--near-duplicate"], "--near-duplicate"),
        (evaluate_suite.cli.main, ["execute", "--tasks", "humaneval", "--reference", "--cpu-seconds"], "--cpu-seconds"),
    ],
)
@pytest.mark.parametrize("value", ["nan", "inf", "1e400"])
def test_a_number_that_is_none_is_a_usage_error_that_names_its_option(
    main: Any, words: list[str], option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, value]) == 2
    assert f"{option} is {float(value)}: input should be a finite number." in capsys.readouterr().err
