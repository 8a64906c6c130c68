"""The scores that a model has given rows, kept by content: read for a selection without the model."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.artifact import cache_dir, digest_file, digest_folder, digest_json
from curate.artifact.sealed import read_sealed
from curate.console import say
from curate.defaults import SMOLLM2
from curate.errors import UserError
from curate.pool.read_options import ReadOptions
from curate.pool.rows import Row
from curate.tokens.prompt import RAW
from curate.tokens.text_rule import TEXT_RULE
from curate.tokens.tokenizers import smollm2_folder


@dataclass(frozen=True, slots=True)
class RowScore:
    """Mean negative log-likelihood (nats a token) of a row's output after its prompt and alone, rounded to 1e-4.

    Both are None where the row is longer than the model was asked to read; `tokens` is its length.
    """

    row_id: str
    tokens: int
    nll_given: float | None
    nll_alone: float | None


def scores_path(model: str) -> Path:
    """Where the scores of this model, by its content and the text rule, are kept.

    The prompt is the raw instruction, whatever prompt a model is trained with later.
    """
    return cache_dir("scores") / f"{digest_json([model_identity(model), RAW.digest, TEXT_RULE])[:32]}.jsonl"


def model_identity(model: str) -> str:
    """Digest of a local model's files, or its hub id."""
    if model == SMOLLM2:
        folder, gguf = smollm2_folder()
        return digest_file(folder / gguf)
    if not model.strip():
        raise UserError("--score-model is empty.", f"Name a hub id, a folder, or {SMOLLM2}.")
    return digest_folder(model) if Path(model).is_dir() else model


def read_scores(model: str) -> dict[str, RowScore]:
    """Scores by row_id, as far as there are any; a line whose seal does not fit counts as absent, which is said."""
    path = scores_path(model)
    rows, damaged = read_sealed(path, path.stem)
    if damaged:
        _say_damaged(path, damaged)
    return {row["row_id"]: RowScore(**row) for row in rows}


@functools.cache
def _say_damaged(path: Path, lines: int) -> None:
    say(f"{lines} lines of the cached scores {path} are not as they were written, or of an older version: not used.")


def digest_scores(rows: Sequence[Row], model: str) -> str:
    """Digest of the model and of what it has scored of these rows so far: more scores are other inputs.

    A model that is not installed has scored nothing; that it is missing is said where its scores are asked for.
    """
    try:
        scores = read_scores(model)
    except UserError:
        return digest_json([model, []])
    known = [astuple(scores[row_id]) for row_id in sorted({row.row_id for row in rows} & scores.keys())]
    return digest_json([model_identity(model), known])


def load_scores(rows: Sequence[Row], model: str, command: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Arrays (n,) by name for strategies that need scores; NaN where the row was too long to score.

    perplexity = exp(nll given the prompt); ifd, the instruction-following difficulty, = that over the perplexity of
    the output alone (Li et al., 2023, arXiv 2308.12032). Rows never scored are an error that names the `command`.
    """
    scores = read_scores(model)
    missing = sum(row.row_id not in scores for row in rows)
    if missing:
        raise UserError(
            f"{missing} of {len(rows)} candidates have no score by {model} yet in {scores_path(model)}.",
            f"Run: {shlex.join(command)}",
        )
    found = [scores[row.row_id] for row in rows]
    given = np.array([np.nan if score.nll_given is None else score.nll_given for score in found])
    alone = np.array([np.nan if score.nll_alone is None else score.nll_alone for score in found])
    return {"perplexity": np.exp(given), "ifd": np.exp(given - alone)}


def score_command(settings: Mapping[str, Any]) -> list[str]:
    """The command line that makes the scores a selection with these settings needs."""
    words = ["curate", "score"]
    usual = {"system": ReadOptions().system, "turns": ReadOptions().turns}
    for name in ("dataset", "columns", "subset", "split", "first", "system", "turns", "score_model"):
        if settings.get(name, usual.get(name)) not in (None, usual.get(name)):
            words += [f"--{name.replace('_', '-')}", str(settings[name])]
    return words
