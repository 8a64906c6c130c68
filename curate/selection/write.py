"""From finished work to the selection artifact on disk, manifest last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from curate.artifact import atomic_file, digest_json, record_file, write_manifest, write_text
from curate.pool.dialogue import MESSAGES
from curate.pool.fates import Fates
from curate.pool.table import Instructions, id_column
from curate.scores.content import made_before_digests
from curate.scores.kept_scores import digest_scores
from curate.selection.card import render_card
from curate.selection.mix import measure_mix, travelling_columns
from curate.selection.page import SelectionPageData, render_selection_page
from curate.selection.record import DECISIONS, HOLDOUT, KIND, SELECTED, SelectedRow, selections_dir, write_rows
from curate.selection.steps import Picked, Pool, Prepared, Stopwatch
from curate.strategies.table import STRATEGIES
from curate.tokens.text_rule import TEXT_RULE
from curate.vectors.encoders import encoder_identity
from curate.vectors.map_layout import lay_out

REPORT = "report.html"
_GROUP_ROWS = 1 << 20  # rows whose details are a list of objects at a time
# How the arithmetic is done, in the digest: selections made in another way are not taken for these.
CELLS = "cells/1"
README = "README.md"
OURS = {README, SELECTED, HOLDOUT, DECISIONS, REPORT}
# Where the user keeps these does not matter, only what they hold; their digests stand in the digest instead.
_PLACES = (
    "dataset", "tokenizer", "prompt_template", "decontaminate", "target", "influence", "mixture", "draws", "keep",
    "vectors",
)  # fmt: skip


def config_digest(pool: Pool) -> str:
    """Return the digest of the config and of every input by content: what a selection's name and its reuse depend on.

    The order of the pool counts: `decisions.parquet` tells rows by their place in it, and `first` picks by it.
    """
    config = pool.config
    needs = STRATEGIES[config.strategy].needs
    scores = [digest_scores(pool.rows, config.score_model)] if "scores" in needs else []
    scores += made_before_digests(config)
    settings = {name: value for name, value in config.as_record().items() if name not in _PLACES}
    others = [record.sha256 for record in pool.inputs[len(pool.loaded.inputs) :]]  # benchmarks, target, kept, vectors
    contents = [
        *others,
        *scores,
        CELLS,
        pool.rows.order_digest(),
        pool.tokenizer_digest,
        pool.template.text,
        encoder_identity(config.encoder),
        *([TEXT_RULE] if pool.spelled_controls else []),  # the ids of such rows are not those of earlier rules
        *([target_digest(pool)] if pool.target_rows else []),  # of a file that is read otherwise now, the rows
    ]
    return digest_json([settings, contents])


def target_digest(pool: Pool) -> str:
    """Return the digest of the target's rows, whichever file they were read from."""
    return digest_json([row.row_id for row in pool.target_rows])


def selection_folder(pool: Pool, out: Path | None) -> Path:
    """Return `out`, or `selections/<strategy>-k<k>-<digest>` below the home of artifacts."""
    if out is not None:
        return out
    config = pool.config
    size = f"k{config.k}" if config.token_budget is None else f"t{config.token_budget}"
    return selections_dir() / f"{config.strategy}-{size}-{config_digest(pool)[:8]}"


def write(prepared: Prepared, picked: Picked, folder: Path, command: Sequence[str], watch: Stopwatch) -> None:
    """Write every file of the artifact; the manifest, which declares it finished, comes last."""
    pool = prepared.pool
    with watch.timed("write"):
        selected, held_out = _selected_rows(pool, picked.rows), _selected_rows(pool, prepared.split.held_out)
        config = {**recorded_config(prepared, picked), "mix": measure_mix(selected)}
        counts = {**picked.fates.counts(), "selected_tokens": sum(row.token_count for row in selected)}
        write_rows(folder / SELECTED, selected)
        write_rows(folder / HOLDOUT, held_out)
        decisions = decision_columns(prepared, picked.fates)
        _write_decisions(folder / DECISIONS, decisions)
        write_text(folder / README, render_card(folder.name, config, counts, picked.notes))
        page = SelectionPageData(
            name=folder.name,
            config=config,
            counts=counts,
            decisions=decisions,
            texts=Instructions(pool.rows),
            coverage=picked.coverage,
            notes=picked.notes,
            command=pool.config.as_command(),
        )
        write_text(folder / REPORT, render_selection_page(page))
        outputs = [
            record_file(folder, SELECTED, len(selected)),
            record_file(folder, HOLDOUT, len(held_out)),
            record_file(folder, DECISIONS, len(pool.rows)),
            record_file(folder, README),
            record_file(folder, REPORT),
        ]
    write_manifest(
        folder,
        kind=KIND,
        command=command,
        config=config,
        seed=pool.config.seed,
        inputs=pool.inputs,
        outputs=outputs,
        counts=counts,
        seconds=watch.seconds,
    )


def recorded_config(prepared: Prepared, picked: Picked) -> dict[str, Any]:
    """Return the config with everything that was resolved on the way: revision, digests, template text, notes."""
    pool = prepared.pool
    return {
        **pool.config.as_record(),
        "prompt_template": pool.template.name,
        "prompt_template_text": pool.template.text,
        "tokenizer_digest": pool.tokenizer_digest,
        "encoder_digest": prepared.vectors.digest,
        "pool_digest": pool.loaded.digest,
        "target_digest": target_digest(pool) if pool.target_rows else None,
        "source": pool.loaded.source,
        "revision": pool.loaded.revision,
        "n_clusters": len(prepared.centres),
        "coverage": picked.coverage,
        "config_digest": config_digest(pool),
        "notes": list(picked.notes),
    }


def _selected_rows(pool: Pool, indices: Sequence[int]) -> list[SelectedRow]:
    travelling = travelling_columns(pool.rows)
    return [
        SelectedRow(
            row_id=row.row_id,
            instruction=row.instruction,
            output=row.output,
            source=row.source,
            token_count=int(pool.token_counts[row.row_index]),
            extra={name: row.extra.get(name) for name in travelling},
        )
        for row in pool.rows.read(pool.rows.place[list(indices)])
    ]


def decision_columns(prepared: Prepared, fates: Fates) -> Any:
    """Return `decisions.parquet` as an Arrow table; cluster and place on the map are null for what is not embedded."""
    pool, vectors = prepared.pool, prepared.vectors
    n = len(pool.rows)
    places = lay_out(vectors.matrix, prepared.centres, pool.engine)
    pool.engine.rest()
    not_embedded = np.ones(n, dtype=bool)
    not_embedded[vectors.rows] = False

    def of_embedded(values: NDArray[Any]) -> Any:
        column = np.zeros(n, dtype=values.dtype)
        column[vectors.rows] = values
        return pyarrow.array(column, mask=not_embedded)

    text, whole, real = pyarrow.large_string(), pyarrow.int32(), pyarrow.float32()  # a pool's texts may exceed 2 GiB
    kinds = [pyarrow.array([None, *texts], text) for texts in zip(*fates.kinds, strict=True)]
    kinds = kinds or [pyarrow.array([None], text)] * 2
    codes = pyarrow.array(fates.codes)
    columns = {
        "row_index": np.arange(n),
        "row_id": id_column(pool.rows.ids[pool.rows.place]),
        "fate": kinds[0].take(codes),
        "reason": kinds[1].take(codes),
        "detail": pyarrow.chunked_array(
            [
                [fates.details.get(i) for i in range(start, min(start + _GROUP_ROWS, n))]
                for start in range(0, n, _GROUP_ROWS)
            ],
            text,
        ),
        "token_count": pool.token_counts,
        "cluster": of_embedded(prepared.labels),
        "x": of_embedded(places[:, 0]),
        "y": of_embedded(places[:, 1]),
        "source": pool.rows.column("source"),
        **{name: pool.rows.column(name) for name in travelling_columns(pool.rows) if name != MESSAGES},
    }
    own = {"row_index": pyarrow.int64(), "token_count": whole, "cluster": whole, "x": real, "y": real}
    always = {"row_index", "row_id", "fate", "reason", "token_count"}
    fields = [pyarrow.field(name, own.get(name, text), nullable=name not in always) for name in columns]
    arrays = [
        column.cast(field.type)
        if isinstance(column, pyarrow.Array | pyarrow.ChunkedArray)
        else pyarrow.array(column, field.type)
        for column, field in zip(columns.values(), fields, strict=True)
    ]
    return pyarrow.table(arrays, schema=pyarrow.schema(fields))


def _write_decisions(path: Path, decisions: Any) -> None:
    with atomic_file(path) as file:
        pyarrow.parquet.write_table(decisions, file)
