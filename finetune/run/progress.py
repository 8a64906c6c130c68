"""What a person sees while a run trains: step, losses, tokens a second, time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from curate.console import console, say


class Live:
    """A bar on a terminal, and, terminal or not, one sentence a logged step. Open it with `with`."""

    def __init__(self, steps: int, done: int = 0) -> None:
        out = console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=out, transient=True, disable=not out.is_terminal)
        self._steps, self._first, self._done = steps, done, done
        self._started = time.monotonic()
        self._task = self._bars.add_task("Training", total=steps, completed=done)

    def __enter__(self) -> Live:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step(self) -> None:
        """One step more is done."""
        self._done += 1
        self._bars.update(self._task, advance=1)

    @contextmanager
    def evaluating(self, rows: int) -> Iterator[Callable[[int], None]]:
        """A second bar for an evaluation; calling what comes back advances it by n rows."""
        task = self._bars.add_task("Evaluating", total=rows)
        try:
            yield lambda n: self._bars.update(task, advance=n)
        finally:
            self._bars.remove_task(task)

    def line(self, line: dict[str, Any]) -> None:
        """Say what was measured at a logged step; what was not is left out."""
        shown = [f"step {line['step']}/{self._steps}"]
        shown += [
            f"{name} loss {line[f'{name}_loss']:.4f}" for name in ("train", "eval") if line[f"{name}_loss"] is not None
        ]
        shown += [f"{line['tokens_per_second']:.0f} tokens/s"] if line["tokens_per_second"] else []
        left = self.seconds_left()
        shown += [f"{left // 60:.0f}:{left % 60:02.0f} left"] if left else []
        self._bars.update(self._task, description="  ".join(shown[1:3]) or "Training")
        say("  ".join(shown))

    def seconds_left(self) -> float | None:
        """At the mean pace so far, evaluations included; None before the first step."""
        if self._done == self._first:
            return None
        return (time.monotonic() - self._started) / (self._done - self._first) * (self._steps - self._done)
