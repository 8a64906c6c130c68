"""Machines that meet before a run, to see that they can and that they are alike."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from finetune.parallel.launch import launch
from finetune.parallel.layout import Layout
from finetune.parallel.processes import Processes, process_group
from finetune.parallel.software import Software, software_here

SECONDS = 60


def meet(layout: Layout, seconds: int = SECONDS) -> list[Software]:
    """Return what every machine of `layout` computes with; each must call this within `seconds` of the others.

    A `UserError` says what to do where they do not come together.
    """
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place) / "machines.json"
        launch(_say_hello, replace(layout, gpus=1, parallel="ddp"), "check", (str(answer),), seconds, seconds)
        machines: list[Software] = json.loads(answer.read_text())
    return machines


def _say_hello(answer: str, processes: Processes) -> None:
    """Write down what all say, in the one process of this machine."""
    with process_group("cpu"):
        Path(answer).write_text(json.dumps(processes.gather(software_here())))
