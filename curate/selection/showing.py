"""`curate show`: a few picked rows in the terminal, by cluster."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from curate.errors import UserError
from curate.page.source_text import visible_text
from curate.selection.mix import MIXED
from curate.selection.record import SelectedRow, Selection, read_decisions

LINES_SHOWN = 12  # of each text, unless all of it is asked for
CHARS_SHOWN = 800


@dataclass(frozen=True)
class ShownCluster:
    """One cluster: its number, how many of its rows were picked, and the picks that are shown, in pick order."""

    cluster: int | None
    picked: int
    rows: tuple[SelectedRow, ...]

    def as_record(self) -> dict[str, Any]:
        """For `--json`."""
        return {"cluster": self.cluster, "picked": self.picked, "rows": [row.as_line() for row in self.rows]}


def choose_shown(selection: Selection, n_rows: int, cluster: int | None = None) -> list[ShownCluster]:
    """Return `n_rows` picks: one of each cluster, the largest first, then a second of each, and so on.

    `cluster` asks for the picks of that one alone.
    """
    by_cluster = _picks_by_cluster(selection)
    if cluster is not None:
        if cluster not in by_cluster:
            most = ", ".join(str(c) for c in list(by_cluster)[:8])
            raise UserError(f"No row of cluster {cluster} was picked.", f"Clusters with most picks: {most}.")
        by_cluster = {cluster: by_cluster[cluster]}
    rounds = zip_longest(*by_cluster.values())
    shown = [row for turn in rounds for row in turn if row is not None][:n_rows]
    chosen = {id(row) for row in shown}
    kept = [
        ShownCluster(number, len(rows), tuple(row for row in rows if id(row) in chosen))
        for number, rows in by_cluster.items()
    ]
    return [each for each in kept if each.rows]


def _picks_by_cluster(selection: Selection) -> Mapping[int | None, Sequence[SelectedRow]]:
    """The picks of every cluster, that with most of them first."""
    table = read_decisions(selection)
    of_row = dict(zip(table.column("row_id").to_pylist(), table.column("cluster").to_pylist(), strict=True))
    picks: dict[int | None, list[SelectedRow]] = defaultdict(list)
    for row in selection.selected:
        picks[of_row.get(row.row_id)].append(row)
    return dict(sorted(picks.items(), key=lambda item: (-len(item[1]), -1 if item[0] is None else item[0])))


def shown_lines(shown: Sequence[ShownCluster], whole: bool = False) -> str:
    """The rows as text for a terminal; control characters are spelt out, and long texts cut unless `whole`."""
    lines: list[str] = []
    for each in shown:
        name = "no cluster" if each.cluster is None else f"cluster {each.cluster}"
        lines += [f"{name}: {each.picked} picked, {len(each.rows)} shown", ""]
        for row in each.rows:
            told = [f"{row.token_count} tokens", row.source, *(row.extra.get(name) or "" for name in MIXED[1:])]
            lines.append(f"  {row.row_id}  {', '.join(_one_line(text) for text in told if text)}")
            lines += [_indented(row.instruction, "  > ", whole), _indented(row.output, "    ", whole), ""]
    return "\n".join(lines).rstrip("\n")


def _one_line(text: str) -> str:
    return " ".join(visible_text(text, 80).split())


def _indented(text: str, margin: str, whole: bool) -> str:
    shown = visible_text(text, len(text) if whole else CHARS_SHOWN).rstrip("\n").split("\n")
    if not whole and len(shown) > LINES_SHOWN:
        shown = [*shown[:LINES_SHOWN], f"[{len(shown) - LINES_SHOWN} more lines not shown]"]
    return textwrap.indent("\n".join(shown), margin, lambda line: True)
