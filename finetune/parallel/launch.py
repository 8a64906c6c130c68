"""torchrun's launcher: one worker a GPU, and what one of them reports as an error raised here."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from curate.errors import UserError
from finetune.parallel.processes import Processes, this_process

SECONDS_TO_SAVE = 60  # what a worker has, after Ctrl-C, to end its step and write a checkpoint
Worker = Callable[..., None]  # takes `work`, then its `Processes`


def launch(worker: Worker, size: int, name: str, work: tuple[Any, ...]) -> None:
    """Call `worker(*work, processes)` in `size` new processes; raise what one of them reports as an error.

    `worker` is a function at the top of a module, and `work` plain data: both are pickled.
    """
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "error.json"
        settings = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=size, rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0",
            run_id=name, max_restarts=0, monitor_interval=0.1, start_method="spawn",
        )  # fmt: skip
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            elastic_launch(settings, _report_errors)(worker, work, str(report))
        except SignalException:
            raise KeyboardInterrupt from None
        except ChildFailedError:
            if report.is_file():
                reported = json.loads(report.read_text())
                if reported["interrupted"]:
                    raise KeyboardInterrupt from None
                raise UserError(reported["error"]) from None
            raise
        finally:
            for number, handler in before.items():  # the launcher leaves its own behind
                signal.signal(number, handler)


def _report_errors(worker: Worker, work: tuple[Any, ...], report: str) -> None:
    """Run the worker in one process; write an expected error to `report`. The first process alone speaks."""
    processes: Processes = this_process()
    if not processes.first:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (for the life of the process)
    try:
        worker(*work, processes)
    except (UserError, KeyboardInterrupt) as error:
        if processes.first or not Path(report).exists():
            reported = {"error": str(error), "interrupted": isinstance(error, KeyboardInterrupt)}
            Path(report).write_text(json.dumps(reported))
        raise
