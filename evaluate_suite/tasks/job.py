"""What a sandbox is given to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Job:
    """A program and what to do with it: run it (`run`), or load it and run the `test` in another process (`test`), or
    run both in one (`together`).

    `classes` and `functions` are the names that the task itself (its prompt, its solution) defines as such.
    """

    program: str
    kind: Literal["run", "test", "together"] = "run"
    prelude: str = ""
    test: str = ""
    entry_point: str = ""
    classes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
