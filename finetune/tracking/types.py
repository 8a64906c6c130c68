"""What a tracker of experiments is here: the one small protocol that every service meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedRun:
    """The run that is tracked. `identity` is the same when it is resumed, so that its rest joins its beginning."""

    name: str
    identity: str
    folder: Path
    config: Mapping[str, Any]


class Session(Protocol):
    """A run being tracked."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Take the values measured at a step; what was not measured is not among them."""

    def finish(self) -> None:
        """Send or write what is left."""


@dataclass(frozen=True)
class Tracker:
    """One line of the table: `require` raises a `UserError` where it could not start, before anything is loaded."""

    start: Callable[[TrackedRun], Session]
    summary: str
    require: Callable[[], None] = lambda: None


class Nowhere:
    """The session of a run that is not tracked."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Keep nothing: the run's own history.jsonl has it all."""

    def finish(self) -> None:
        """Nothing was started."""
