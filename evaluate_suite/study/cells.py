"""What the cells of a study do, wherever they run: select, train, measure. Each returns where its result stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curate.artifact import MANIFEST
from curate.config import SelectConfig
from curate.pipeline import select
from curate.selection.record import Selection, read_selection
from evaluate_suite.config import ReportConfig
from evaluate_suite.reporting.models import ReportModels
from evaluate_suite.reporting.recipe import prepare
from finetune.config import RunConfig
from finetune.model import base_model_kept
from finetune.recipe import train
from finetune.run.record import CONFIG, run_folder

_KEPT: dict[str, ReportModels] = {}  # of this process, with the adapter that its last cell measured


def make_selection(config: SelectConfig, command: Sequence[str]) -> str:
    """Return the folder of the selection, made or, where the same one exists, reused."""
    return str(select(config, None, command).path)


def train_run(config: RunConfig, selection: str, wandb_mode: str | None, command: Sequence[str]) -> str:
    """Return the folder of the run: trained, taken up where it was left, or reused. Its base model stays loaded."""
    _KEPT.clear()
    picked = read_selection(selection)
    with base_model_kept():
        return str(train(config, picked, None, is_begun(config, picked), wandb_mode, command).path)


def measure_run(run: str, config: ReportConfig, tuned: bool) -> str:
    """Put losses and generations of the run, or of its base model, into the cache, where the report finds them."""
    work = prepare(config.model_copy(update={"runs": (run,)}))
    models = _KEPT.setdefault("models", work.models)
    evaluation = work.evaluations[0]
    with base_model_kept():
        models.losses(evaluation.run, evaluation.selection, work.rows.scored, tuned)
        models.generations(evaluation.run, evaluation.selection, work.prompts, work.settings, tuned)
    return run


def is_begun(config: RunConfig, selection: Selection) -> bool:
    """Whether the run's folder holds this run, unfinished."""
    folder: Path = run_folder(config, selection, None)
    return (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file()
