"""What a selection is made of: the columns that travelled with its rows, and how many rows have which value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from curate.pool.table import PoolTable
from curate.selection.record import SelectedRow

NOT_SAID = "not said"
MIXED = ("source", "license", "language")  # what the mix is told of; ids are all different
_SHOWN = 12
# Columns that mean something else in our own files.
_OURS = {
    "row_index", "row_id", "instruction", "output", "source", "token_count", "fate", "reason", "detail", "cluster",
    "x", "y",
}  # fmt: skip


def travelling_columns(rows: PoolTable) -> list[str]:
    """The names of the columns that travel with any of the rows, `messages` included, in alphabetical order."""
    return sorted(set(rows.travelling) - _OURS)


def measure_mix(rows: Sequence[SelectedRow]) -> dict[str, dict[str, int]]:
    """How many rows have which source, licence and language, most first; columns that no row has are left out."""
    mix = {"source": Counter(row.source for row in rows)}
    for name in MIXED[1:]:
        if any(row.extra.get(name) for row in rows):
            mix[name] = Counter(row.extra.get(name) or NOT_SAID for row in rows)
    return {name: dict(sorted(n.items(), key=lambda item: (-item[1], item[0]))) for name, n in mix.items()}


def mix_rows(mix: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str, str]]:
    """The mix as rows of a table: (column, value, selected rows), of each column the most frequent values."""
    rows: list[tuple[str, str, str]] = []
    for name, values in mix.items():
        shown = list(values.items())[:_SHOWN]
        rows += [(name, value, f"{n:,}") for value, n in shown]
        others = sum(values.values()) - sum(n for _, n in shown)
        rows += [(name, f"{len(values) - _SHOWN} others", f"{others:,}")] if others else []
    return rows


def mix_lines(mix: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Markdown that tells the mix: a table where a column has more than one value, a sentence where it has one."""
    lines: list[str] = []
    for name, values in mix.items():
        if len(values) == 1:
            lines += [f"The {name} of every selected row: {next(iter(values))}.", ""]
            continue
        shown = list(values.items())[:_SHOWN]
        others = sum(values.values()) - sum(n for _, n in shown)
        lines += [f"| {name} | selected rows |", "| --- | ---: |"]
        lines += [f"| {value.replace('|', '/')} | {n} |" for value, n in shown]
        lines += [f"| {len(values) - _SHOWN} others | {others} |"] if others else []
        lines.append("")
    return lines


def license_doubt(mix: Mapping[str, Mapping[str, int]]) -> str | None:
    """Why the licence of the rows is in doubt, None where all rows name one and the same."""
    values = mix.get("license")
    if not values:
        return "No row says its licence."
    if missing := values.get(NOT_SAID, 0):
        return f"{missing} rows do not say their licence."
    return f"The rows have {len(values)} licences ({', '.join(list(values)[:5])})." if len(values) > 1 else None
