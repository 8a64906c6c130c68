"""Reading back what another command left of a pool's rows, a line a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from curate.artifact import parse_jsonl, read_output
from curate.artifact.manifest_schema import Manifest
from curate.errors import UserError

T = TypeVar("T")


def read_by_row(
    folder: Path, manifest: Manifest, name: str, again: str, what: str, value: Callable[[int, Mapping[str, Any]], T]
) -> dict[str, T]:
    """Return, by row_id, the `value` of each line (its place and its content) of a file of a finished artifact.

    The file must have the digest that the manifest recorded. A `UserError` that says `again` where it does not hold
    `what` it should.
    """
    lines = parse_jsonl(read_output(folder, manifest, name, again), folder / name, ours=True)
    try:
        return {str(line["row_id"]): value(place, line) for place, (_, line) in enumerate(lines)}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / name} does not hold {what} ({error!r}).", again) from None
