"""The shape of `manifest.json`, in a module of its own because pydantic is heavy and `--help` must not wait for it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class FileRecord(BaseModel):
    """One file an artifact was made from or consists of."""

    model_config = ConfigDict(extra="forbid")
    file: str
    sha256: str
    rows: int | None = None


class Manifest(BaseModel):
    """What made an artifact, from what, and what came out; one shape for selections, runs and reports."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    schema_: str = Field(alias="schema")
    created_at: str
    command: list[str]
    config: dict[str, Any]
    seed: int | None
    inputs: list[FileRecord]
    outputs: list[FileRecord]
    counts: dict[str, int]
    seconds: dict[str, float]
    provenance: dict[str, Any]
