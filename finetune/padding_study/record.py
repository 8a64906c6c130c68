"""The padding study's artifact: every arm with its figures, and what they say, as `padding-study.json` holds them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from curate.artifact import Lifts, Record, RecordPart, read_manifest

KIND = "finetune.padding_study"
PAGE, NUMBERS = "index.html", "padding-study.json"


class Arm(RecordPart):
    """One way of batching, trained.

    `loss_difference` is eval loss minus that of the packed arm, per token, with a 95% interval from resampling held-out
    rows in pairs (None for the packed arm itself). `base_loss` is the base model's eval loss; schema 1 had none.
    """

    name: str
    pad_token: str
    steps: int
    tokens: int
    padding_share: float
    train_seconds: float
    tokens_per_second: float
    eval_loss: float
    base_loss: float | None = None
    loss_difference: float | None
    interval: tuple[float, float] | None


class PaddingStudyRecord(Record):
    """A finished study: its arms, and the sentences that answer its questions."""

    file: ClassVar[str] = NUMBERS
    lifts: ClassVar[Lifts] = {1: lambda content: content}

    schema_: Literal["finetune.padding_study/2"] = Field(default="finetune.padding_study/2", alias="schema")
    arms: list[Arm]
    answers: list[str]

    @property
    def headline(self) -> str:
        """Return the first answer, which is about time."""
        return self.answers[0]

    @property
    def second(self) -> str:
        """Return the first answer about the outcome."""
        return next(sentence for sentence in self.answers if sentence.startswith("Outcome"))


def read_padding_study(folder: Path) -> PaddingStudyRecord:
    """Return the record of a finished study, read back."""
    return PaddingStudyRecord.read(folder, read_manifest(folder, KIND), "Make the study again.")
