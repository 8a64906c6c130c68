"""What a finished selection says about itself, or about one row of its pool."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from curate.errors import UserError
from curate.selection import DECISIONS, Selection


@dataclass(frozen=True)
class RowStory:
    """One row's decision, and the selected row nearest to it on the map's own vectors (None when it has none)."""

    decision: dict[str, Any]
    nearest_pick: str | None
    nearest_cosine: float | None


def read_decisions(selection: Selection) -> list[dict[str, Any]]:
    """The lines of `decisions.parquet`, in pool order."""
    import pyarrow.parquet

    path = selection.path / DECISIONS
    try:
        return list(pyarrow.parquet.read_table(path).to_pylist())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}).", "Make the selection again.") from None


def summarise(selection: Selection) -> dict[str, Any]:
    """Fates, reasons, sources, token totals and cluster shares of a selection, as plain JSON."""
    decisions = read_decisions(selection)
    picked = [d for d in decisions if d["fate"] == "selected"]
    in_pool = Counter(d["cluster"] for d in decisions if d["cluster"] is not None)
    in_picks = Counter(d["cluster"] for d in picked)
    tokens = sorted(d["token_count"] for d in picked)
    return {
        "name": selection.path.name,
        "config": selection.manifest.config,
        "counts": selection.manifest.counts,
        "tokens": {"total": sum(tokens), "least": tokens[0], "median": tokens[len(tokens) // 2], "most": tokens[-1]},
        "sources": dict(Counter(row.source for row in selection.selected).most_common()),
        "clusters": [
            {"cluster": cluster, "pool_rows": n, "picked_rows": in_picks.get(cluster, 0)}
            for cluster, n in sorted(in_pool.items(), key=lambda item: (-item[1], item[0]))
        ],
    }


def tell_row(selection: Selection, row_id: str) -> list[RowStory]:
    """Why the rows with this id (or this start of an id, or this row index) were kept or dropped.

    The nearest pick is found with the selection's own encoder, which is loaded for it.
    """
    decisions = read_decisions(selection)
    by_index = [d for d in decisions if str(d["row_index"]) == row_id]
    found = by_index or [d for d in decisions if d["row_id"].startswith(row_id)]
    if not found:
        raise UserError(
            f"No row of this pool has an id that starts with {row_id}, or that index.",
            f"Ids look like {decisions[0]['row_id']}; indices go to {len(decisions) - 1}.",
        )
    if len({d["row_id"] for d in found}) > 1:
        raise UserError(f"{len(found)} rows have an id that starts with {row_id}.", "Give more of the id.")
    nearest = _nearest_pick(selection, found[0])
    return [RowStory(decision, *nearest) for decision in found]


def _nearest_pick(selection: Selection, decision: dict[str, Any]) -> tuple[str | None, float | None]:
    import numpy as np

    from curate.embedding import text_to_embed
    from curate.encoders import load_encoder
    from curate.rows import Row
    from curate.sources import load_rows

    config = selection.manifest.config
    pool = load_rows(config["dataset"], config["columns"])
    if pool.digest != config["pool_digest"]:
        return None, None
    row = pool.rows[decision["row_index"]]
    others = [
        Row(-1, s.row_id, s.instruction, s.output, s.source) for s in selection.selected if s.row_id != row.row_id
    ]
    if not others or not row.output.strip():
        return None, None
    texts = [text_to_embed(each, config["embed"]) for each in (row, *others)]
    vectors = load_encoder(config["encoder"], config["batch_size"]).encode(texts, lambda n: None)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors[1:] @ vectors[0]
    best = int(np.argmax(cosine))
    return others[best].row_id, round(float(cosine[best]), 4)
