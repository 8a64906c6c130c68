"""The selection artifact: picked rows and the shared holdout, as a dataset that `datasets` loads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from curate.artifact import (
    digest_json,
    digest_text,
    find_artifact,
    home,
    json_line,
    parse_jsonl,
    read_manifest,
    read_output,
    require_whole,
    write_jsonl,
)
from curate.artifact.manifest_schema import Manifest
from curate.errors import UserError
from curate.pool.dialogue import MESSAGES, messages_text
from curate.selection.again import selecting_edited
from curate.tokens.prompt import PromptTemplate

KIND = "curate.selection"
SELECTED = "selected.jsonl"
HOLDOUT = "holdout.jsonl"
DECISIONS = "decisions.parquet"


@dataclass(frozen=True, slots=True)
class SelectedRow:
    """One line of `selected.jsonl` or `holdout.jsonl`; `token_count` is that of the whole rendered example.

    `extra` are the columns that travelled with the row, such as `license`; every row of a selection has the same.
    Its `messages`, the conversation of a row that has one, are JSON text here and a list in the file.
    """

    row_id: str
    instruction: str
    output: str
    source: str
    token_count: int
    extra: Mapping[str, str | None] = field(default_factory=dict)

    def as_line(self) -> dict[str, Any]:
        """The row as it stands in the file: the columns that travelled behind our own."""
        own = {name: getattr(self, name) for name in _OWN_COLUMNS}
        messages = {MESSAGES: json.loads(text)} if (text := self.extra.get(MESSAGES)) else {}
        return {**own, **self.extra, **messages}

    @staticmethod
    def from_line(line: Mapping[str, Any]) -> SelectedRow:
        """The row of a line of the file; a `TypeError` where one of our columns is missing."""
        own = {name: line[name] for name in _OWN_COLUMNS if name in line}
        extra = {name: value for name, value in line.items() if name not in own}
        if extra.get(MESSAGES):
            extra[MESSAGES] = messages_text(extra[MESSAGES])
        return SelectedRow(**own, extra=extra)


_OWN_COLUMNS = ("row_id", "instruction", "output", "source", "token_count")


@dataclass(frozen=True)
class Selection:
    """A finished selection, read back; where `is_part`, the first of its rows alone, which no folder holds."""

    path: Path
    manifest: Manifest
    selected: list[SelectedRow]
    holdout: list[SelectedRow]
    is_part: bool = False

    @cached_property
    def holdout_digest(self) -> str:
        """Digest of the held-out row ids: two selections with equal digests can be compared."""
        return digest_json([row.row_id for row in self.holdout])

    @cached_property
    def digest(self) -> str:
        """Digest of everything a run depends on: both files, the tokenizer and the prompt template."""
        config = self.manifest.config
        files = {record.file: record.sha256 for record in self.manifest.outputs}
        return digest_json(
            [files[SELECTED], files[HOLDOUT], config["tokenizer_digest"], config["prompt_template_text"]]
        )

    def first_rows(self, n: int) -> Selection:
        """Return the selection of the first `n` selected rows, with a digest of its own: a run of it is another run."""
        if n >= len(self.selected):
            return self
        rows = self.selected[:n]
        sha256 = digest_text("".join(json_line(row.as_line()) for row in rows))
        own = {"sha256": sha256, "rows": len(rows)}
        outputs = [r.model_copy(update=own) if r.file == SELECTED else r for r in self.manifest.outputs]
        manifest = self.manifest.model_copy(update={"outputs": outputs})
        return replace(self, selected=rows, manifest=manifest, is_part=True)

    @property
    def template(self) -> PromptTemplate:
        """The prompt template the token counts were made with."""
        config = self.manifest.config
        return PromptTemplate(config["prompt_template"], config["prompt_template_text"])


def selections_dir() -> Path:
    """Where selections live."""
    return home() / "selections"


def write_rows(path: Path, rows: Iterable[SelectedRow]) -> int:
    """Write `rows` as JSONL; the number of rows comes back."""
    return write_jsonl(path, (row.as_line() for row in rows))


def read_rows(data: bytes, source: Path) -> list[SelectedRow]:
    """The rows in the bytes of a `selected.jsonl` or `holdout.jsonl`; `source` is named in errors."""
    try:
        return [SelectedRow.from_line(line) for _, line in parse_jsonl(data, source, ours=True)]
    except TypeError as error:
        raise UserError(
            f"{source} does not have the fields of a selection ({error}).", "Remove the folder and make it again."
        ) from None


def read_selection(given: str | Path | None = None) -> Selection:
    """The finished selection at a path, of a name, or the newest one for None.

    Its rows must still have the digests that its manifest recorded.
    """
    folder = find_artifact(given, selections_dir(), KIND)
    manifest = read_manifest(folder, KIND)
    try:
        data = [read_output(folder, manifest, name, "") for name in (SELECTED, HOLDOUT)]
    except UserError as error:
        raise UserError(error.what, as_own_selection(folder, manifest)) from None
    selected, holdout = (read_rows(each, folder / name) for each, name in zip(data, (SELECTED, HOLDOUT), strict=True))
    return Selection(folder, manifest, selected, holdout)


def as_own_selection(folder: Path, manifest: Manifest) -> str:
    """What to do with rows that were edited by hand: the command that makes them a selection of their own."""
    edited = selecting_edited(folder / SELECTED, manifest, f"{folder}-edited")
    return f"Remove the folder and make it again; if you edited {SELECTED}, make it a selection of its own: {edited}"


def require_whole_selection(selection: Selection) -> None:
    """Raise where any file of the selection is not as it was made: before it is handed to others."""
    require_whole(selection.path, selection.manifest, as_own_selection(selection.path, selection.manifest))


def read_decisions(selection: Selection) -> Any:
    """`decisions.parquet` as a table, in pool order; it must be the one that the manifest describes."""
    again = f"Make it again: {shlex.join(selection.manifest.command) or 'the command that made it'}"
    data = read_output(selection.path, selection.manifest, DECISIONS, again)
    return pyarrow.parquet.read_table(pyarrow.BufferReader(data))
