"""The models behind a report: loaded only when something is missing from the cache, each base model once."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from curate.artifact import cache_dir, digest_file, digest_json, file_lock
from curate.artifact.sealed import read_sealed, write_sealed
from curate.console import progress
from curate.defaults import SMOLLM2
from curate.loading import load_pretrained
from curate.selection.record import SelectedRow, Selection, read_decisions
from curate.tokens.text_rule import TEXT_RULE
from evaluate_suite.generation.engines import VLLM, build_tasks, generate, generate_to_file
from evaluate_suite.generation.raw_prompts import RawPrompt
from evaluate_suite.generation.record import DecodingSettings, Generation
from evaluate_suite.generation.vllm_engine import VllmEngine
from evaluate_suite.reporting.eval_loss import RowEval, cached_rows, require_numbers, score_rows
from finetune.check.row_tokens import RowView
from finetune.check.row_view import ReadRow
from finetune.model import BASE_SETTINGS, adapter_off, load_adapter, load_base_model
from finetune.run.base_model import base_model_digest
from finetune.run.record import Run
from finetune.run.tokenizer import load_selections_tokenizer


class ReportModels:
    """Losses and generations of base models and runs; a model is loaded when the cache does not have the answer."""

    def __init__(self, engine: str = "auto") -> None:
        self.engine = engine
        self._model: Any = None
        self._base: str | None = None
        self._run: Path | None = None
        self._tokenizers: dict[str, Any] = {}

    def losses(self, run: Run, selection: Selection, rows: Sequence[SelectedRow], tuned: bool) -> list[RowEval]:
        """Row losses on `rows`, of the run's base model or of the run."""

        def score() -> list[RowEval]:
            tokenizer = self.tokenizer(selection)
            name = run.path.name if tuned else run.config.model
            with self._ready(run, tuned) as model, progress(f"eval loss of {name}", len(rows)) as advance:
                return require_numbers(score_rows(model, tokenizer, selection.template, rows, advance), name)

        return cached_rows(model_identity(run, selection, tuned), rows, score)

    def row_view(self, run: Run, selection: Selection, number: int) -> RowView:
        """The row on line `number` of selected.jsonl as the run read it, with its base model's loss of every token."""
        completion_only = run.config.completion_only_loss
        tokenizer = self.tokenizer(selection)
        row = ReadRow(tokenizer, selection, number, tokenizer.pad_token_id, completion_only)
        identity = [model_identity(run, selection, False), row.row.row_id, completion_only]
        path = cache_dir("token_losses") / f"{digest_json(identity)[:32]}.jsonl"
        with file_lock(path.with_suffix(".lock")):
            lines, _ = read_sealed(path, identity)
            if not lines:
                with self._ready(run, tuned=False) as model:
                    lines = [{"losses": row.losses(model)}]
                write_sealed(path, lines, identity)
        return row.view(lines[0]["losses"])

    def generations(
        self, run: Run, selection: Selection, prompts: Sequence[RawPrompt], settings: DecodingSettings, tuned: bool
    ) -> list[Generation]:
        """One greedy generation a prompt, of the run's base model or of the run; kept as soon as it exists."""
        asked = [(prompt.prompt_id, prompt.asked) for prompt in prompts]
        texts = [(name, text if isinstance(text, str) else text.as_messages()) for name, text in asked]
        other = [] if self.engine == "auto" else [self.engine]
        made_with = digest_json([model_identity(run, selection, tuned), settings.as_record(), texts, *other])
        tokenizer = self.tokenizer(selection)
        tasks = build_tasks(
            tokenizer,
            selection.template,
            asked,
            settings,
            languages={prompt.prompt_id: prompt.language for prompt in prompts},
            references={prompt.prompt_id: prompt.reference for prompt in prompts},
        )

        def fill(missing: Sequence[Any], save: Callable[[Generation], None]) -> None:
            with progress(f"generations of {run.path.name if tuned else run.config.model}", len(missing)) as advance:

                def keep(generation: Generation) -> None:
                    save(generation)
                    advance(1)

                if self.engine == VLLM:
                    adapter = run.adapter_dir if tuned else None
                    self._vllm(run).generate(tokenizer, missing, settings, adapter_dir=adapter, on_result=keep)
                else:
                    with self._ready(run, tuned) as model:
                        generate(model, tokenizer, missing, settings, on_result=keep, engine=self.engine)

        return generate_to_file(cache_dir("generations") / f"{made_with[:32]}.jsonl", fill, tasks, made_with)

    def _vllm(self, run: Run) -> Any:
        """vLLM with the run's base model, loaded once; what was loaded for the losses is let go first."""
        base = digest_json(base_settings(run))
        if self._base != f"vllm {base}":
            self._model = self._run = None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._model, self._base = VllmEngine(run.config), f"vllm {base}"
        return self._model

    def context(self, run: Run) -> int | None:
        """The longest sequence the run's base model was made for, where its config says so."""
        if run.config.model == SMOLLM2:
            return 2048
        return getattr(load_pretrained(AutoConfig, run.config.model, "model"), "max_position_embeddings", None)

    def tokenizer(self, selection: Selection) -> Any:
        """The tokenizer the selection was counted with, with a pad token."""
        key = selection.manifest.config["tokenizer_digest"]
        if key not in self._tokenizers:
            tokenizer: Any = load_selections_tokenizer(selection)
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
            self._tokenizers[key] = tokenizer
        return self._tokenizers[key]

    @contextlib.contextmanager
    def _ready(self, run: Run, tuned: bool) -> Iterator[Any]:
        """The run's model, its adapter switched on or off."""
        base = digest_json(base_settings(run))
        if self._base != base:
            self._model = self._run = None
            self._model, self._base = load_base_model(run.config), base
        if self._run != run.path:
            if self._run is not None:
                self._model = self._model.unload()
            self._model, self._run = load_adapter(self._model, run.adapter_dir), run.path
        with contextlib.nullcontext() if tuned else adapter_off(self._model):
            yield self._model


def base_settings(run: Run) -> dict[str, Any]:
    """The settings that decide what the run's base model computes."""
    return {name: getattr(run.config, name) for name in BASE_SETTINGS}


def adapter_digest(run: Run) -> str:
    """Digest of the adapter's files."""
    files = sorted(path for path in run.adapter_dir.iterdir() if path.is_file())
    return digest_json([[path.name, digest_file(path)] for path in files])


def model_identity(run: Run, selection: Selection, tuned: bool) -> list[Any]:
    """Everything that decides what a model answers: base model and how it is loaded, tokenizer, template, adapter."""
    config = selection.manifest.config
    base = [base_settings(run), base_model_digest(run.config.model)]
    shared = [*base, config["tokenizer_digest"], TEXT_RULE, config["prompt_template_text"]]
    return [*shared, adapter_digest(run) if tuned else None]


def training_rows(selection: Selection) -> list[tuple[str, str]]:
    """(row_id, output) of every selected row, for the memorisation metric."""
    return [(row.row_id, row.output) for row in selection.selected]


def decision_columns(selection: Selection) -> dict[str, list[Any]]:
    """The columns of a selection's `decisions.parquet`."""
    columns: dict[str, list[Any]] = read_decisions(selection).to_pydict()
    return columns


def read_timings(run: Run) -> tuple[float | None, float | None]:
    """(seconds of training, peak memory in GiB) from `timings.jsonl`; None where it has none."""
    seconds = [line["elapsed_seconds"] for line in run.timings if line["elapsed_seconds"] is not None]
    memory = [line["peak_memory_gib"] for line in run.timings if line["peak_memory_gib"] is not None]
    return (seconds[-1] if seconds else None, max(memory) if memory else None)
