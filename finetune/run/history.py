"""What a run leaves behind step by step: `history.jsonl`, equal for equal runs, and `timings.jsonl`, which is not."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from curate.artifact import append_jsonl, write_jsonl
from finetune.parallel.processes import ALONE, Processes
from finetune.run.history_lines import HISTORY, TIMINGS, read_unfinished


@dataclass
class Meter:
    """Sums since the last line: loss over labelled tokens, tokens, padding; losses stay on the device until read.

    Of one process; `take` adds up those of all. `tokens_seen` counts the whole run's, all processes', at the last line.
    """

    nll: list[torch.Tensor | float] = field(default_factory=list)
    targets: int = 0
    tokens: int = 0
    padding: int = 0
    tokens_seen: int = 0

    def add(self, nll: torch.Tensor, sample_ids: torch.Tensor) -> None:
        """Count one batch: the losses of its labelled tokens and which of its places are padding (-1)."""
        self.nll.append(nll.detach().double().sum())
        self.targets += nll.numel()
        places = sample_ids.numel()
        real = int((sample_ids >= 0).sum())
        self.tokens += real
        self.padding += places - real

    def take(self, processes: Processes = ALONE) -> tuple[float | None, float | None, int]:
        """(mean loss a labelled token, share of padding, tokens) since the last call, and start again."""
        summed = float(sum(float(part) for part in self.nll))
        nll, targets, tokens, padding = processes.total([summed, self.targets, self.tokens, self.padding])
        loss = nll / targets if targets else None
        share = padding / (tokens + padding) if tokens + padding else None
        self.nll, self.targets, self.tokens, self.padding = [], 0, 0, 0
        self.tokens_seen += int(tokens)
        return loss, share, int(tokens)

    def state(self, processes: Processes = ALONE) -> dict[str, Any]:
        """What a checkpoint between two lines must keep, as JSON; of several processes, all together."""
        parts = [float(part) for part in self.nll]
        targets, tokens, padding, *nll = processes.total(
            [self.targets, self.tokens, self.padding, *(parts if processes.size == 1 else [sum(parts)])]
        )
        return {"nll": nll, "targets": int(targets), "tokens": int(tokens), "padding": int(padding),
                "tokens_seen": self.tokens_seen}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, value in state.items():
            setattr(self, name, value)


class History:
    """Appends one line a logged step to both files of a run folder; `lines` are those of `history.jsonl`, `timings`
    those of `timings.jsonl`.

    Where `writes` is false, in all but the first of several processes, the lines are kept and no file is touched.
    """

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self.folder = folder
        self.writes = writes
        self.lines: list[dict[str, Any]] = []
        self.timings: list[dict[str, Any]] = []
        self._started = self._last = time.perf_counter()
        self._elapsed_before = 0.0

    def continue_from(self, checkpoint: Path | None) -> None:
        """Go on from the lines that a checkpoint keeps, or from none: what was logged after it is dropped."""
        if checkpoint is not None:
            self.lines, self.timings = read_unfinished(checkpoint, HISTORY), read_unfinished(checkpoint, TIMINGS)
        if self.timings:
            self._elapsed_before = self.timings[-1]["elapsed_seconds"]
        if self.writes:
            self.write(self.folder)

    def write(self, folder: Path) -> None:
        """Write both files whole: into a checkpoint, or over what lies in the run's folder."""
        write_jsonl(folder / HISTORY, self.lines)
        write_jsonl(folder / TIMINGS, self.timings)

    def append(
        self,
        step: int,
        train_loss: float | str | None,
        eval_loss: float | str | None,
        learning_rate: float | None,
        tokens_seen: int,
        padding_share: float | None,
        tokens: int,
        peak_memory_gib: float | None,
    ) -> dict[str, Any]:
        """Write one line to each file; the two joined come back. A loss that is no number is given as text: "nan"."""
        now = time.perf_counter()
        line = {
            "step": step,
            "train_loss": train_loss,
            "eval_loss": eval_loss,
            "learning_rate": learning_rate,
            "tokens_seen": tokens_seen,
            "padding_share": padding_share,
        }
        timing = {
            "step": step,
            "tokens_per_second": tokens / (now - self._last) if tokens else None,
            "elapsed_seconds": self._elapsed_before + now - self._started,
            "peak_memory_gib": peak_memory_gib,
        }
        if self.writes:
            append_jsonl(self.folder / HISTORY, line)
            append_jsonl(self.folder / TIMINGS, timing)
        self.lines.append(line)
        self.timings.append(timing)
        return line | timing

    def resume_clock(self) -> None:
        """Leave what happened since the last line (an evaluation, a checkpoint) out of the next tokens per second."""
        self._last = time.perf_counter()

    def best(self) -> tuple[int, float] | None:
        """(step, eval loss) of the lowest eval loss, the earliest of equals; None when none was measured.

        Step 0, the base model, is no candidate: it has no adapter.
        """
        measured = [
            (line["eval_loss"], line["step"]) for line in self.lines if line["eval_loss"] is not None and line["step"]
        ]
        return (min(measured)[1], min(measured)[0]) if measured else None


def peak_memory_gib() -> float:
    """Peak memory so far in GiB: that of the GPU where one is in use, else the process's resident size."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated() / 2**30)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
