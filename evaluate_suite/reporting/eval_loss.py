"""Eval loss of base and tuned model on the shared holdout, row by row, kept in the cache by what decides it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curate.artifact import cache_dir, digest_json, file_lock
from curate.artifact.sealed import read_sealed, write_sealed
from curate.console import say
from curate.errors import UserError
from curate.pool.dialogue import texts_of
from curate.selection.record import SelectedRow
from curate.tokens.tokenizers import encode_examples
from finetune.batches.token_loss import row_losses

TOO_LONG = "longer_than_context"


@dataclass(frozen=True, slots=True)
class RowEval:
    """Summed loss (nats) over one held-out row's output and end token, and how many tokens that is."""

    row_id: str
    nll: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats per token of this row."""
        return self.nll / self.tokens


@dataclass(frozen=True)
class EvalRows:
    """The held-out rows that are scored, and the ones that are not, with the reason."""

    scored: list[SelectedRow]
    unscored: dict[str, str]


def choose_rows(holdout: Sequence[SelectedRow], n_rows: int | None, context: int | None) -> EvalRows:
    """The first `n_rows` held-out rows by digest (None: all); those longer than the model's context go unscored."""
    chosen = sorted(holdout, key=lambda row: row.row_id)[:n_rows]
    too_long = {row.row_id: TOO_LONG for row in chosen if context is not None and row.token_count > context}
    return EvalRows([row for row in chosen if row.row_id not in too_long], too_long)


def token_mean(rows: Sequence[RowEval]) -> float | None:
    """Mean loss per token, every token weighing the same; None where there is no token."""
    tokens = sum(row.tokens for row in rows)
    return math.fsum(row.nll for row in rows) / tokens if tokens else None


def perplexity(loss: float | None) -> float | None:
    """exp of a loss in nats per token; None for None, and where it is beyond a float."""
    return None if loss is None or loss > 700 else math.exp(loss)


def score_rows(
    model: Any,
    tokenizer: Any,
    template: Any,
    rows: Sequence[SelectedRow],
    advance: Callable[[int], None] = lambda n: None,
) -> list[RowEval]:
    """The loss of `rows` under `model` as it is (adapter on or off), in order, summed in double precision."""
    examples = encode_examples(tokenizer, template, list(map(texts_of, rows)))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    losses = row_losses(model, examples, pad, advance)
    return [RowEval(row.row_id, loss.nll, loss.tokens) for row, loss in zip(rows, losses, strict=True)]


def require_numbers(losses: Sequence[RowEval], name: str) -> list[RowEval]:
    """Return the losses; a `UserError` where one is no finite number, as after a training that diverged."""
    broken = sum(not math.isfinite(loss.nll) for loss in losses)
    if broken:
        raise UserError(
            f"The eval loss of {name} is not a finite number on {broken} of {len(losses)} held-out rows.",
            "Name the other runs alone; `evalsuite verdict RUN` and a wider dtype help to find out why.",
        )
    return list(losses)


def cached_rows(identity: Any, rows: Sequence[SelectedRow], score: Callable[[], list[RowEval]]) -> list[RowEval]:
    """The losses made for `identity` (all that decides them but the rows), from the cache or by calling `score`."""
    path = cache_path(identity, rows)
    with file_lock(path.with_suffix(".lock")):
        lines, _ = read_sealed(path, identity)
        if [line["row_id"] for line in lines] == [row.row_id for row in rows]:
            return [RowEval(**line) for line in lines]
        if path.exists():
            say(f"The cached eval losses {path} were damaged, or are of an older version; computing them again.")
        losses = score()
        write_sealed(path, (asdict(loss) for loss in losses), identity)
    return losses


def cache_path(identity: Any, rows: Sequence[SelectedRow]) -> Path:
    """Where the losses of `rows` under `identity` are kept."""
    return cache_dir("eval_loss") / f"{digest_json([identity, [row.row_id for row in rows]])[:32]}.jsonl"
