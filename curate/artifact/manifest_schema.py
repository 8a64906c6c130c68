"""The shape of `manifest.json`, in a module of its own because pydantic is heavy and `--help` must not wait for it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class FileRecord(BaseModel):
    """One file an artifact was made from or consists of."""

    model_config = ConfigDict(extra="forbid")
    file: str
    sha256: str
    rows: int | None = None


class Manifest(BaseModel):
    """What made an artifact, from what, and what came out; one shape for selections, runs and reports.

    `manifest_digest` is that of everything else in it (`curate.artifact.manifest.sign`); schema 1 had none.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, allow_inf_nan=False)
    schema_: str = Field(alias="schema")
    created_at: str
    command: list[str]
    config: dict[str, Any]
    seed: int | None
    inputs: list[FileRecord]
    outputs: list[FileRecord]
    counts: dict[str, int]
    seconds: dict[str, float]
    provenance: dict[str, Any]
    manifest_digest: str | None = None


class _Settings(BaseModel):
    """What every reader of a kind may count on in `config`; there is more in it."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class SelectionSettings(_Settings):
    """`curate.selection`: the config, and what was resolved on the way."""

    model: str
    tokenizer: str | None
    strategy: str
    strategy_options: dict[str, Any]
    dataset: str
    columns: str | None
    source: str
    k: int
    token_budget: int | None
    encoder: str
    embed: str
    batch_size: int
    prompt_template: str
    prompt_template_text: str
    tokenizer_digest: str
    encoder_digest: str
    config_digest: str
    notes: list[str]


class RunSettings(_Settings):
    """`finetune.run`: the config, the selection it was trained on, and what came out."""

    model: str
    steps: int
    tokens_seen: int
    best_step: int | None
    best_eval_loss: float | None
    run_digest: str
    selection: str
    selection_digest: str
    holdout_digest: str
    tokenizer_digest: str
    prompt_template_text: str


class PageSettings(_Settings):
    """What the index of reports shows of every page."""

    headline: str
    second: str


class ReportSettings(PageSettings):
    """`evaluate_suite.report`."""

    report_digest: str
    runs: list[str]


class ComparisonSettings(PageSettings):
    """`curate.comparison`."""

    comparison_digest: str


class PaddingStudySettings(PageSettings):
    """`finetune.padding_study`."""

    study_digest: str


class InfluenceSettings(_Settings):
    """`finetune.influence`: what scored which rows by their influence on what."""

    model: str
    selection: str
    influence_digest: str


class MixtureSettings(_Settings):
    """`evaluate_suite.mixture`: what shares were fitted, or set, for."""

    mixture_digest: str


class DrawsSettings(_Settings):
    """`evaluate_suite.draws`: which draws were trained."""

    draws_digest: str


SETTINGS: dict[str, type[BaseModel]] = {
    "curate.selection": SelectionSettings,
    "finetune.run": RunSettings,
    "evaluate_suite.report": ReportSettings,
    "curate.comparison": ComparisonSettings,
    "finetune.padding_study": PaddingStudySettings,
    "finetune.influence": InfluenceSettings,
    "evaluate_suite.mixture": MixtureSettings,
    "evaluate_suite.draws": DrawsSettings,
}
