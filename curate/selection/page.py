"""`report.html` of a selection: what was picked, what was left out and why, how well the picks cover the pool."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.page import build_curation, render_document
from curate.page.curation_charts import curation_charts
from curate.selection.mix import mix_rows


@dataclass(frozen=True)
class SelectionPageData:
    """What the page is made of.

    `decisions` are the columns of `decisions.parquet`; `texts` holds the instruction of every pool row by row_id;
    `config` and `counts` are the manifest's; `coverage` holds named shares (0 to 1) or cosines, None where not
    measured; `notes` are sentences for people. `command` is printed as the line that repeats the selection: give it
    without anything that differs between equal selections, such as `--out`.
    """

    name: str
    config: Mapping[str, Any]
    counts: Mapping[str, int]
    decisions: Mapping[str, Any]
    texts: Mapping[str, str]
    coverage: Mapping[str, float | None] = field(default_factory=dict)
    notes: Sequence[str] = ()
    command: Sequence[str] = ()


def selection_headline(data: SelectionPageData) -> tuple[str, str]:
    """The two sentences at the top: how many of how many were picked how, and what the picks touch."""
    counts = data.counts
    picked, pool = counts.get("selected", 0), counts["pool"]
    tokens = counts.get("selected_tokens")
    with_tokens = f" ({tokens:,} tokens)" if tokens is not None else ""
    first = f"{picked:,} of {pool:,} rows picked by {data.config['strategy']}{with_tokens}."
    excluded, held_out = counts.get("excluded", 0), counts.get("held_out", 0)
    second = f"{excluded:,} rows were left out with a reason, {held_out:,} are held out for evaluation."
    return first, second


def render_selection_page(data: SelectionPageData) -> str:
    """The page as one HTML document that needs no network. Same data, same bytes."""
    view = build_curation(data.name, data.decisions, data.texts, data.coverage)
    charts = curation_charts(view, "selection")
    headline, second = selection_headline(data)
    shown = {k: v for k, v in data.config.items() if k not in ("notes", "prompt_template_text", "mix")}
    return render_document(
        "selection.html",
        {
            "data": data,
            "view": view,
            "charts": charts,
            "headline": headline,
            "second": second,
            "config": [(name, _config_text(value)) for name, value in sorted(shown.items())],
            "command": shlex.join(data.command),
            "mix": mix_rows(data.config.get("mix", {})),
        },
        charts=charts,
    )


def _config_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
