"""trackio, which keeps its curves on this machine. The only file that imports it."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Mapping
from typing import Any

from curate.errors import UserError
from finetune.tracking.types import Session, TrackedRun, Tracker


class _Trackio:
    """A run of trackio's; a resumed run goes on in the one of the same name.

    It greets on stdout, where a command's result belongs.
    """

    def __init__(self, run: TrackedRun) -> None:
        import trackio

        with contextlib.redirect_stdout(sys.stderr):
            self._run: Any = trackio.init(
                project="rowpick", name=f"{run.name}-{run.identity[:6]}", config=dict(run.config), resume="allow",
                embed=False, auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._run.finish()


def _start(run: TrackedRun) -> Session:
    return _Trackio(run)


def _require_package() -> None:
    if importlib.util.find_spec("trackio") is None:
        raise UserError("--track trackio needs the package trackio, which is not installed.", "pip install trackio")


TRACKIO = Tracker(_start, "trackio's files on this machine, for `trackio show`", _require_package)
