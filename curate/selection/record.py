"""The selection artifact: picked rows and the shared holdout, as a dataset that `datasets` loads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.artifact import digest_file, digest_json, find_artifact, home, read_jsonl, read_manifest, write_jsonl
from curate.artifact.manifest_schema import Manifest
from curate.errors import UserError
from curate.tokens.prompt import PromptTemplate

KIND = "curate.selection"
SCHEMA = f"{KIND}/1"
SELECTED = "selected.jsonl"
HOLDOUT = "holdout.jsonl"
DECISIONS = "decisions.parquet"


@dataclass(frozen=True, slots=True)
class SelectedRow:
    """One line of `selected.jsonl` or `holdout.jsonl`; `token_count` is that of the whole rendered example.

    `extra` are the columns that travelled with the row, such as `license`; every row of a selection has the same.
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
        return {**own, **self.extra}

    @staticmethod
    def from_line(line: Mapping[str, Any]) -> SelectedRow:
        """The row of a line of the file; a `TypeError` where one of our columns is missing."""
        own = {name: line[name] for name in _OWN_COLUMNS if name in line}
        return SelectedRow(**own, extra={name: value for name, value in line.items() if name not in own})


_OWN_COLUMNS = ("row_id", "instruction", "output", "source", "token_count")


@dataclass(frozen=True)
class Selection:
    """A finished selection, read back."""

    path: Path
    manifest: Manifest
    selected: list[SelectedRow]
    holdout: list[SelectedRow]

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


def read_rows(path: Path) -> list[SelectedRow]:
    """The rows of a `selected.jsonl` or `holdout.jsonl`."""
    try:
        return [SelectedRow.from_line(line) for line in read_jsonl(path)]
    except TypeError as error:
        raise UserError(
            f"{path} does not have the fields of a selection ({error}).", "Remove the folder and make it again."
        ) from None


def read_selection(given: str | Path | None = None) -> Selection:
    """The finished selection at a path, of a name, or the newest one for None.

    Its files must still have the digests that its manifest recorded.
    """
    folder = find_artifact(given, selections_dir(), KIND)
    manifest = read_manifest(folder, KIND)
    for record in manifest.outputs:
        path = folder / record.file
        if record.file in (SELECTED, HOLDOUT) and (not path.is_file() or digest_file(path) != record.sha256):
            raise UserError(f"{path} is not the file its manifest describes.", "Remove the folder and make it again.")
    return Selection(folder, manifest, read_rows(folder / SELECTED), read_rows(folder / HOLDOUT))
