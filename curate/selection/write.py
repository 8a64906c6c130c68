"""From finished work to the selection artifact on disk, manifest last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from curate.artifact import atomic_file, digest_json, record_file, write_manifest, write_text
from curate.pool.work import Work
from curate.scores.scoring import digest_scores
from curate.selection.card import render_card
from curate.selection.page import SelectionPageData, render_selection_page
from curate.selection.record import DECISIONS, HOLDOUT, KIND, SELECTED, SelectedRow, selections_dir, write_rows
from curate.strategies.table import STRATEGIES
from curate.vectors.encoders import encoder_identity
from curate.vectors.map_layout import lay_out

REPORT = "report.html"
README = "README.md"
OURS = {README, SELECTED, HOLDOUT, DECISIONS, REPORT}
# Where the user keeps these does not matter, only what they hold; their digests stand in the digest instead.
_PLACES = ("dataset", "tokenizer", "prompt_template", "decontaminate", "target")


def config_digest(work: Work) -> str:
    """Digest of the config and of every input by content: what a selection's name and its reuse depend on.

    The order of the pool counts: `decisions.parquet` tells rows by their place in it, and `first` picks by it.
    """
    needs = STRATEGIES[work.config.strategy].needs
    scores = [digest_scores(work.rows, work.config.score_model)] if "scores" in needs else []
    settings = {name: value for name, value in work.config.as_record().items() if name not in _PLACES}
    others = [record.sha256 for record in work.inputs[len(work.pool.inputs) :]]  # benchmarks, target
    contents = [
        *others,
        *scores,
        [row.row_id for row in work.rows],
        work.tokenizer_digest,
        work.template.text,
        encoder_identity(work.config.encoder),
    ]
    return digest_json([settings, contents])


def selection_folder(work: Work, out: Path | None) -> Path:
    """`out`, or `selections/<strategy>-k<k>-<digest>` below the home of artifacts."""
    if out is not None:
        return out
    config = work.config
    size = f"k{config.k}" if config.token_budget is None else f"t{config.token_budget}"
    return selections_dir() / f"{config.strategy}-{size}-{config_digest(work)[:8]}"


def write(work: Work, folder: Path, command: Sequence[str]) -> None:
    """Write every file of the artifact; the manifest, which declares it finished, comes last."""
    started = time.perf_counter()
    selected, held_out = _selected_rows(work, work.picked), _selected_rows(work, work.held_out)
    config = recorded_config(work)
    counts = {**work.fates.counts(), "selected_tokens": sum(row.token_count for row in selected)}
    write_rows(folder / SELECTED, selected)
    write_rows(folder / HOLDOUT, held_out)
    decisions = decision_columns(work)
    _write_decisions(folder / DECISIONS, decisions)
    write_text(folder / README, render_card(folder.name, config, counts, work.notes))
    page = SelectionPageData(
        name=folder.name,
        config=config,
        counts=counts,
        decisions=decisions,
        texts={row.row_id: row.instruction for row in work.rows},
        coverage=config["coverage"],
        notes=work.notes,
        command=work.config.as_command(),
    )
    write_text(folder / REPORT, render_selection_page(page))
    outputs = [
        record_file(folder, SELECTED, len(selected)),
        record_file(folder, HOLDOUT, len(held_out)),
        record_file(folder, DECISIONS, len(work.rows)),
        record_file(folder, README),
        record_file(folder, REPORT),
    ]
    work.seconds["write"] = time.perf_counter() - started
    write_manifest(
        folder,
        kind=KIND,
        command=command,
        config=config,
        seed=work.config.seed,
        inputs=work.inputs,
        outputs=outputs,
        counts=counts,
        seconds=work.seconds,
    )


def recorded_config(work: Work) -> dict[str, Any]:
    """The config with everything that was resolved on the way: revision, digests, template text, notes."""
    return {
        **work.config.as_record(),
        "prompt_template": work.template.name,
        "prompt_template_text": work.template.text,
        "tokenizer_digest": work.tokenizer_digest,
        "encoder_digest": work.encoder_digest,
        "pool_digest": work.pool.digest,
        "source": work.pool.source,
        "revision": work.pool.revision,
        "n_clusters": len(work.centres),
        "coverage": work.coverage,
        "config_digest": config_digest(work),
        "notes": work.notes,
    }


def _selected_rows(work: Work, indices: Sequence[int]) -> list[SelectedRow]:
    rows = [work.rows[i] for i in indices]
    return [
        SelectedRow(row.row_id, row.instruction, row.output, row.source, int(work.token_counts[row.row_index]))
        for row in rows
    ]


def decision_columns(work: Work) -> dict[str, list[Any]]:
    """The columns of `decisions.parquet`, one entry a pool row; cluster and map place are null where not embedded."""
    n = len(work.rows)
    cluster: list[int | None] = [None] * n
    x: list[float | None] = [None] * n
    y: list[float | None] = [None] * n
    places = lay_out(work.embeddings, work.centres)
    for position, row_index in enumerate(work.embedded):
        cluster[row_index] = int(work.clusters[position])
        x[row_index], y[row_index] = float(places[position, 0]), float(places[position, 1])
    return {
        "row_index": list(range(n)),
        "row_id": [row.row_id for row in work.rows],
        "fate": list(work.fates.fate),
        "reason": list(work.fates.reason),
        "detail": list(work.fates.detail),
        "token_count": work.token_counts.tolist(),
        "cluster": cluster,
        "x": x,
        "y": y,
    }


def _write_decisions(path: Path, columns: dict[str, list[Any]]) -> None:
    text, whole, real = pyarrow.string(), pyarrow.int32(), pyarrow.float32()
    schema = pyarrow.schema(
        [
            pyarrow.field("row_index", pyarrow.int64(), nullable=False),
            pyarrow.field("row_id", text, nullable=False),
            pyarrow.field("fate", text, nullable=False),
            pyarrow.field("reason", text, nullable=False),
            pyarrow.field("detail", text),
            pyarrow.field("token_count", whole, nullable=False),
            pyarrow.field("cluster", whole),
            pyarrow.field("x", real),
            pyarrow.field("y", real),
        ]
    )
    with atomic_file(path) as file:
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), file)
