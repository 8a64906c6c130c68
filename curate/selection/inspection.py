"""What a finished selection says about itself, or about one row of its pool."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.defaults import TFIDF
from curate.errors import UserError
from curate.page.curation import short_label
from curate.pool.read_options import ReadOptions
from curate.pool.rows import Row
from curate.selection.record import Selection, read_decisions
from curate.sources import load_rows
from curate.vectors.embedding import cached_vectors, text_to_embed, unit_rows
from curate.vectors.encoders import load_encoder
from curate.vectors.given import load_given


@dataclass(frozen=True)
class RowStory:
    """One row's decision, what it asks, and the pick most like it (never itself).

    `nearest_pick` is None where that is not known; then `why_unknown` is a sentence that says why.
    """

    decision: dict[str, Any]
    instruction: str | None
    nearest_pick: str | None
    nearest_instruction: str | None
    nearest_cosine: float | None
    why_unknown: str | None = None


def _decisions(selection: Selection) -> list[dict[str, Any]]:
    """The lines of `decisions.parquet`, in pool order."""
    return list(read_decisions(selection).to_pylist())


def summarise(selection: Selection) -> dict[str, Any]:
    """Fates, reasons, sources, token totals and cluster shares of a selection, as plain JSON."""
    decisions = _decisions(selection)
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


def summary_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What of `summarise` a terminal shows: (name, value)."""
    tokens = summary["tokens"]
    return [
        *((name.replace(".", ": "), str(n)) for name, n in summary["counts"].items()),
        ("tokens", f"{tokens['least']} to {tokens['most']}, median {tokens['median']}"),
        *((f"source {name}", str(n)) for name, n in list(summary["sources"].items())[:8]),
        *((f"cluster {c['cluster']}", f"{c['picked_rows']} of {c['pool_rows']} rows") for c in summary["clusters"][:8]),
    ]


def tell_row(selection: Selection, row_id: str) -> list[RowStory]:
    """Why the rows with this id (or this start of an id, or this row index) were kept or dropped.

    The nearest pick is found among the vectors the selection was made with, from the cache, or from the file of
    `--vectors`. A row that the cache has none of is embedded now, by the same encoder, from the pool, where that is
    still the same.
    """
    decisions = _decisions(selection)
    by_index = [d for d in decisions if str(d["row_index"]) == row_id]
    found = by_index or [d for d in decisions if d["row_id"].startswith(row_id)]
    if not found:
        raise UserError(
            f"No row of this pool has an id that starts with {row_id}, or that index.",
            f"Ids look like {decisions[0]['row_id']}; indices go to {len(decisions) - 1}.",
        )
    if len({d["row_id"] for d in found}) > 1:
        raise UserError(f'{len(found)} rows have an id that starts with "{row_id}".', "Give more of the id.")
    asked = {row.row_id: row.instruction for row in [*selection.selected, *selection.holdout]}
    row = _pool_row(selection, found[0]) if found[0]["row_id"] not in asked else None
    instruction = row.instruction if row is not None else asked.get(found[0]["row_id"])
    try:
        nearest, cosine = _nearest_pick(selection, decisions, found[0], row)
    except UserError as error:
        return [RowStory(d, instruction, None, None, None, str(error)) for d in found]
    return [RowStory(d, instruction, nearest, asked[nearest], cosine) for d in found]


def _pool_row(selection: Selection, decision: dict[str, Any]) -> Row | None:
    """The row itself, read from the pool again; None where the pool is gone, or has another row in its place."""
    config = selection.manifest.config
    try:
        rows = load_rows(config["dataset"], config["columns"], ReadOptions.of(config)).rows
    except UserError:
        return None
    row = rows[decision["row_index"]] if decision["row_index"] < len(rows) else None
    return row if row is not None and row.row_id == decision["row_id"] else None


def _nearest_pick(
    selection: Selection, decisions: list[dict[str, Any]], decision: dict[str, Any], row: Row | None
) -> tuple[str, float]:
    """The selected row most like this one, and the cosine; a `UserError` where that cannot be known."""
    picks = [s.row_id for s in selection.selected if s.row_id != decision["row_id"]]
    if not picks:
        raise UserError("There is no other pick.", "")
    config = selection.manifest.config
    embedded = sorted((d["row_id"], d["row_index"]) for d in decisions if d["x"] is not None)
    if config.get("vectors") is not None:
        return _nearest_given(config, decisions, embedded, picks, decision)
    vectors = cached_vectors(config["encoder_digest"], config["embed"], [row_id for row_id, _ in embedded])
    if vectors is None:
        raise UserError(
            "The vectors of this selection are no longer in the cache.", "Make it again in another --out to have them."
        )
    place = {row_id: position for position, (row_id, _) in enumerate(embedded)}
    mine = vectors[place[decision["row_id"]]] if decision["row_id"] in place else _embed_alone(config, decision, row)
    return _most_like(picks, vectors[[place[row_id] for row_id in picks]], mine)


def _most_like(picks: list[str], vectors: NDArray[np.float32], mine: NDArray[np.float32]) -> tuple[str, float]:
    cosine = vectors @ mine
    best = int(np.argmax(cosine))
    return picks[best], round(float(cosine[best]), 4)


def _nearest_given(
    config: dict[str, Any],
    decisions: list[dict[str, Any]],
    embedded: list[tuple[str, int]],
    picks: list[str],
    decision: dict[str, Any],
) -> tuple[str, float]:
    """The same among the vectors of `--vectors`, which nothing keeps: the file and the pool are read again."""
    index = dict(embedded)
    wanted = [*((row_id, index[row_id]) for row_id in picks), (decision["row_id"], decision["row_index"])]
    pool = load_rows(config["dataset"], config["columns"], ReadOptions.of(config)).rows
    given = load_given(config["vectors"], len(decisions))
    rows = [pool[place] for _, place in wanted] if len(pool) == len(decisions) else []
    if given.sha256 != config["encoder_digest"] or [row.row_id for row in rows] != [row_id for row_id, _ in wanted]:
        raise UserError(f"The pool, or the vectors in {config['vectors']}, are no longer what they were.", "")
    *others, mine = given.of(rows)
    return _most_like(picks, np.array(others), mine)


def _embed_alone(config: dict[str, Any], decision: dict[str, Any], row: Row | None) -> Any:
    """The vector of a row that the selection did not embed."""
    if config["encoder"] == TFIDF:
        raise UserError(f"It was not embedded ({decision['reason']}), and tfidf embeds whole pools only.", "")
    if row is None:
        raise UserError(f"It was not embedded ({decision['reason']}), and the pool is no longer what it was.", "")
    text = text_to_embed(row, config["embed"])
    if not text.strip():
        raise UserError("It has no text to embed.", "")
    encoder = load_encoder(config["encoder"], config["batch_size"])
    return unit_rows(encoder.encode([text], lambda n: None))[0]


def row_lines(story: RowStory) -> str:
    """A row's story for a terminal: its fate and why, its size and place, and the pick most like it."""
    d = story.decision
    fate = f"{d['fate'].replace('_', ' ')}: {d['reason']}" + (f", {d['detail']}" if d["detail"] else "")
    lines = [f"row {d['row_index']} ({d['row_id']})", f"  {fate}"]
    if story.instruction is not None:
        lines.append(f"  asks: {short_label(story.instruction)}")
    cluster = "no cluster" if d["cluster"] is None else f"cluster {d['cluster']}"
    lines.append(f"  {d['token_count']} tokens, {cluster}")
    if story.nearest_pick is None:
        return "\n".join([*lines, f"  nearest pick not known: {story.why_unknown}"])
    lines.append(f"  nearest pick: {story.nearest_pick}, cosine {story.nearest_cosine:.4f}")
    return "\n".join([*lines, f"    asks: {short_label(story.nearest_instruction or '')}"])
