"""The types of a verdict: one logged step, one remark, and what is said of a whole training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

VERDICTS = ("underfit", "good", "overfit", "diverged", "too_short", "still_training")
REMARKS = ("noisy_batches", "unstable", "leaking")
SUGGESTIONS = {
    "underfit": "Train longer, or raise the learning rate.",
    "good": "Keep this recipe.",
    "overfit": "Stop at the best step, or lower the learning rate.",
    "diverged": "Lower the learning rate, and check that gradients are clipped and in a wide enough dtype.",
    "too_short": "Train for more steps, or evaluate more often: too little was measured to judge.",
    "still_training": "Wait for the next evaluations.",
}


@dataclass(frozen=True)
class HistoryPoint:
    """One logged step; None where a loss was not measured. `step` may be a share of an epoch where nothing else is."""

    step: int | float
    train_loss: float | None
    eval_loss: float | None


@dataclass(frozen=True)
class Context:
    """What is known of a training beside its losses.

    `training`: it has not finished. `updates`: its optimizer steps, where the steps of its history are such.
    `trained_share`: how much of its selection it has seen. A good curve alone is no reason to keep a recipe after three
    steps or a third of the rows.
    """

    training: bool = False
    updates: int | None = None
    trained_share: float | None = None


@dataclass(frozen=True)
class Remark:
    """A second observation beside a verdict: `name` is one of REMARKS, `text` the sentence with its numbers."""

    name: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What a loss history says about the training.

    `verdict` is one of VERDICTS and `rule` the sentence that led to it, with the numbers it rests on. `best_step` has
    the lowest eval loss measured, `onset_step` is where overfitting began. `evidence` has every number that a rule
    reads; None where there is none.
    """

    verdict: str
    best_step: int | float | None
    onset_step: int | float | None
    rule: str
    evidence: dict[str, int | float | None]
    suggestion: str
    remarks: tuple[Remark, ...] = ()

    @property
    def evidence_text(self) -> str:
        """The evidence in one line for people."""
        return ", ".join(
            f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.evidence.items() if value is not None
        )

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, value) of what a terminal prints of the verdict."""
        rows = [("best step", self.best_step), ("onset", self.onset_step), ("why", self.rule), ("try", self.suggestion)]
        rows += [("also", remark.text) for remark in self.remarks]
        return [(name, str(value)) for name, value in rows if value is not None]

    def as_record(self) -> dict[str, Any]:
        """Return the verdict as plain JSON."""
        return {**asdict(self), "remarks": [asdict(remark) for remark in self.remarks]}
