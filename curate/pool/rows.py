"""The unit of everything: one instruction and its output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from curate.artifact import digest_text

Finding = tuple[int, str, str | None]  # row index, reason code, detail


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the pool. `row_index` is its position there; `row_id` depends on its text alone.

    `extra` are the columns that travel with it, such as `license`, by name.
    """

    row_index: int
    row_id: str
    instruction: str
    output: str
    source: str
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)


def build_row(
    row_index: int, instruction: str, output: str, source: str, extra: Mapping[str, str] | None = None
) -> Row:
    """A row with its id: the first 16 hexadecimal digits of the digest of instruction and output.

    A zero byte stands between the two, so that moving text from one to the other changes the id.
    """
    return Row(row_index, digest_text(f"{instruction}\0{output}")[:16], instruction, output, source, extra or {})
