"""The lines of `history.jsonl` and `timings.jsonl`: their shape, and the one reader of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.artifact import parse_jsonl
from curate.errors import UserError

HISTORY = "history.jsonl"
TIMINGS = "timings.jsonl"


class HistoryLine(BaseModel):
    """A logged step. A loss is NaN or infinite in the last line of a run that diverged, and nowhere else."""

    model_config = ConfigDict(extra="allow")
    step: int = Field(ge=0)
    train_loss: float | None
    eval_loss: float | None
    learning_rate: float | None = Field(None, ge=0, allow_inf_nan=False)
    tokens_seen: int = Field(0, ge=0)
    padding_share: float | None = Field(None, ge=0, le=1)


class TimingLine(BaseModel):
    """What a logged step took: not the same in equal runs."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    step: int = Field(ge=0)
    tokens_per_second: float | None = Field(None, ge=0)
    elapsed_seconds: float | None = Field(None, ge=0)
    peak_memory_gib: float | None = Field(None, ge=0)


SHAPES: dict[str, type[HistoryLine] | type[TimingLine]] = {HISTORY: HistoryLine, TIMINGS: TimingLine}


def parse_lines(data: bytes, source: Path) -> list[dict[str, Any]]:
    """The lines in the bytes of a history or timings file, steps rising; what is wrong is named with its line."""
    shape = SHAPES[source.name]
    lines: list[dict[str, Any]] = []
    for number, row in parse_jsonl(data, source, ours=True):
        try:
            line = shape.model_validate(row).model_dump()
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{source}:{number}: {where}: {first['msg']}.", "It is not a line that a run wrote."
            ) from None
        if lines and line["step"] <= lines[-1]["step"]:
            raise UserError(
                f"{source}:{number}: step {line['step']} after step {lines[-1]['step']}.", "Steps of a run only rise."
            )
        lines.append(line)
    return lines


def read_unfinished(folder: Path, name: str = HISTORY) -> list[dict[str, Any]]:
    """The lines that a run has written so far; one it is writing, or was killed while it wrote, is left out."""
    path = folder / name
    if not path.is_file():
        return []
    data = path.read_bytes()
    return parse_lines(data[: data.rfind(b"\n") + 1], path)
