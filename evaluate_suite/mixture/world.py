"""The pool as proxy runs see it: without a held-out row, or one near to it, and with rows kept apart to judge by.

In that pool the rows kept apart are the holdout, so that training and selecting are those of any other pool, and what
is really held out is nowhere. Where a target judges, its rows and what is near to them are not in it either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.artifact import cache_dir, digest_json, one_writer, write_jsonl
from curate.artifact.manifest_schema import FileRecord
from curate.artifact.sealed import read_folder_seal, seal_folder
from curate.config import SelectConfig
from curate.defaults import TFIDF
from curate.engines import open_engine
from curate.errors import UserError
from curate.pipeline import load, made_for, prepare, select, target_not_held_out
from curate.pool.dialogue import texts_of
from curate.pool.rows import Row
from curate.pool.table import as_row_ids
from curate.scores.made_for import MadeFor
from curate.selection.record import SelectedRow, Selection, read_decisions
from curate.selection.steps import Pool, Prepared, Stopwatch
from curate.selection.write import config_digest
from curate.tokens.tokenizers import encode_examples, load_tokenizer
from curate.vectors.embedding import embed_rows
from curate.vectors.neighbours import ROUNDING, nearest_everywhere

ROWS, TARGET, COMPLETE = "rows.jsonl", "target.jsonl", "complete"
NEAR_APART = "near_duplicate_of_holdout"  # in that pool: near a row that is kept apart


@dataclass(frozen=True)
class World:
    """The pool without what is held out. `config` selects from it; `made_for` is the pool as the user named it, and
    `own` this one.

    Of its candidates, in row_id order: `rows`, `tokens` (n,) and `vectors` (n x d). `judges` are the rows
    whose loss is measured: those of the target, or those kept apart.
    """

    folder: Path
    digest: str
    config: SelectConfig
    made_for: MadeFor
    own: MadeFor
    inputs: list[FileRecord]
    rows: list[Row]
    tokens: NDArray[np.int64]
    vectors: NDArray[np.float32]
    judges: list[SelectedRow]
    judged_by: str

    @property
    def row_ids(self) -> list[str]:
        """The candidates' ids."""
        return [row.row_id for row in self.rows]


def build_world(base: SelectConfig, apart: int) -> World:
    """Return the pool of `base` without its holdout, `apart` of its rows kept apart, written once and then reused."""
    whole = base.model_copy(update={"strategy": "random", "strategy_options": {}, "seed": 0})
    watch = Stopwatch()
    with open_engine() as engine:
        pool = load(whole, watch, engine)
        rule = [] if whole.target is None else ["no candidate is like a row of the target"]
        digest = digest_json([config_digest(pool), apart, *rule])
        folder = cache_dir("proxies") / digest[:32]
        prepared = prepare(pool, watch)
        target = target_not_held_out(prepared)
        with one_writer(folder / "pool"):
            if read_folder_seal(folder / "pool", COMPLETE) is None:
                candidates = _unlike(prepared, target)
                write_jsonl(folder / "pool" / ROWS, map(_line, pool.rows.read(pool.places_of(candidates))))
                write_jsonl(folder / "pool" / TARGET, map(_line, target))
                seal_folder(folder / "pool", COMPLETE)
    config = _config_of(pool, folder / "pool", apart)
    first = select(config.model_copy(update={"k": 1, "token_budget": None, "target": None}), folder / "first")
    return _world_of(base, folder, digest, config, prepared, first, target)


def _config_of(pool: Pool, folder: Path, apart: int) -> SelectConfig:
    """The settings that select from the written pool: its rows are read, bounded and cleaned already."""
    return pool.config.model_copy(
        update={
            "dataset": str(folder / ROWS),
            "columns": None,
            "subset": None,
            "split": None,
            "first": None,
            "keep_where": (),
            "target": None if pool.config.target is None else str(folder / TARGET),
            "holdout": apart,
            "coordinated": True,
        }
    )


def _unlike(prepared: Prepared, target: list[Row]) -> NDArray[np.int64]:
    """The candidates that are near to no row of the target, which judges: a run that picked one would have read it."""
    pool = prepared.pool
    if not target:
        return prepared.candidates
    config, vectors, rows = pool.config, prepared.vectors, prepared.candidates
    ids = {row.row_id for row in target}
    like = np.array([row_id in ids for row_id in as_row_ids(pool.rows.ids[pool.places_of(rows)])], dtype=bool)
    if config.encoder != TFIDF:  # which is fitted on the pool and knows no other row
        judges = embed_rows(target, config.encoder, config.embed, config.batch_size)[0]
        cosine = nearest_everywhere(pool.engine, vectors.matrix, judges)[1]
        like |= cosine[vectors.places(rows)] >= config.near_duplicate - ROUNDING
    return np.asarray(rows[~like])


def _uncounted(row: Row) -> SelectedRow:
    return SelectedRow(row.row_id, row.instruction, row.output, row.source, 0, row.extra)


def _line(row: Row) -> dict[str, Any]:
    """A row as a record that is read as the same row again."""
    line = _uncounted(row).as_line()
    return {name: value for name, value in line.items() if name not in ("row_id", "token_count")}


def _answered(pool: Pool, target: list[Row]) -> list[SelectedRow]:
    """The target's rows that have an output and are no longer than a training example may be."""
    rows = [_uncounted(row) for row in target if row.output.strip()]
    if not rows:
        return []
    tokenizer = load_tokenizer(pool.config.model, pool.config.tokenizer)
    examples = encode_examples(tokenizer, pool.template, list(map(texts_of, rows)))
    lengths = [len(example.input_ids) for example in examples]
    return [replace(row, token_count=n) for row, n in zip(rows, lengths, strict=True) if n <= pool.config.max_tokens]


def _world_of(
    base: SelectConfig,
    folder: Path,
    digest: str,
    config: SelectConfig,
    prepared: Prepared,
    first: Selection,
    target: list[Row],
) -> World:
    decisions = read_decisions(first).to_pydict()
    kept = {
        row_id
        for row_id, fate, reason in zip(*(decisions[name] for name in ("row_id", "fate", "reason")), strict=True)
        if fate != "held_out" and reason != NEAR_APART
    }
    pool = prepared.pool
    rows = [row for row in pool.rows.read(pool.places_of(prepared.candidates)) if row.row_id in kept]
    at = np.array([row.row_index for row in rows], dtype=np.int64)
    answered = _answered(pool, target)
    if base.target is not None and not answered:
        raise UserError(
            f"No row of {base.target} that is not held out has an output and fits into {base.max_tokens} tokens, and "
            "draws are judged by the loss on outputs.",
            "Give rows with answers, or leave --target out.",
        )
    judges = answered or first.holdout
    if not judges:
        raise UserError(
            f"No row could be kept apart to judge by: {len(kept)} candidates are too few.", "Name a larger --dataset."
        )
    judged_by = f"{len(judges)} rows of {base.target}" if answered else f"{len(judges)} rows of the pool, kept apart"
    settings = first.manifest.config
    own = MadeFor(
        pool_digest=settings["pool_digest"],
        held_out=len(first.holdout),
        model=settings["model"],
        tokenizer_digest=settings["tokenizer_digest"],
    )
    return World(
        folder, digest, config, made_for(pool, prepared.split), own, list(pool.inputs), rows,
        pool.token_counts[at].astype(np.int64),
        np.asarray(prepared.vectors.matrix[prepared.vectors.places(at)]), judges, judged_by,
    )  # fmt: skip
