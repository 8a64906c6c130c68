"""torchrun's launcher: one worker a GPU, on this machine or several, and what one of them reports as an error here."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from curate.console import say
from curate.errors import UserError
from finetune.parallel.layout import Layout, split_address
from finetune.parallel.processes import Processes, this_process

SECONDS_TO_ANSWER = 60  # for the machine where all meet; it must be there first, or within this time
SECONDS_TO_MEET = 600  # for all the others
AGAIN = "Everything up to the last checkpoint is kept; go on with --resume, on every machine of the run."
# How torch puts it that another process is gone.
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "DistBackendError",
    "DistNetworkError",
    "DistStoreError",
)
Worker = Callable[..., None]  # takes `work`, then its `Processes`


def launch(
    worker: Worker, layout: Layout, name: str, work: tuple[Any, ...], answer: int = SECONDS_TO_ANSWER,
    meet: int = SECONDS_TO_MEET,
) -> None:  # fmt: skip
    """Call `worker(*work, processes)` in this machine's share of new processes; raise what one of them reports.

    `worker` is a function at the top of a module, and `work` plain data: both are pickled. Several machines wait for
    each other, `answer` seconds for the one at the rendezvous and `meet` for the rest.
    """
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "error.json"
        settings = LaunchConfig(
            min_nodes=layout.nodes, max_nodes=layout.nodes, nproc_per_node=layout.gpus, rdzv_backend="c10d",
            rdzv_endpoint=layout.rendezvous or "127.0.0.1:0", run_id=name, max_restarts=0, monitor_interval=0.1,
            rdzv_configs={"read_timeout": answer, "join_timeout": meet}, local_addr=_own_address(layout),
            start_method="spawn",
        )  # fmt: skip
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        logger = logging.getLogger("torch.distributed.elastic")  # what it says of workers that end, we say
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        if layout.nodes > 1:
            say(f"Waiting for {layout.nodes} machines at {layout.rendezvous}.")
        try:
            elastic_launch(settings, _report_errors)(worker, work, layout.parallel == "fsdp", str(report))
        except SignalException:
            raise KeyboardInterrupt from None
        except RendezvousError as error:
            if report.is_file():  # they had met, and one of the workers said why it ended
                raise _reported(report, layout, None) from None
            raise UserError(*_no_meeting(layout, error, answer, meet)) from None
        except ChildFailedError as error:
            raise _reported(report, layout, error) from None
        finally:
            logger.setLevel(level)
            for number, handler in before.items():  # the launcher leaves its own behind
                signal.signal(number, handler)


def _own_address(layout: Layout) -> str | None:
    """Return under which address the others find this machine; None lets the launcher look it up."""
    local = layout.rendezvous is not None and split_address(layout.rendezvous)[0] in ("localhost", "127.0.0.1")
    return "127.0.0.1" if local else None


def _no_meeting(layout: Layout, error: RendezvousError, answer: int, meet: int) -> tuple[str, str]:
    """Return what to say, and to do, where the machines did not come together."""
    if type(error).__name__ == "RendezvousConnectionError":
        return (
            f"Nothing answers at the rendezvous {layout.rendezvous} ({answer} s).",
            "Start the same command on that machine first, and see that the port is free there and open from here.",
        )
    return (
        f"Not all of {layout.nodes} machines came to {layout.rendezvous} within {meet} s.",
        "Start the same command on each, with the same --nodes and --rendezvous.",
    )


def _reported(report: Path, layout: Layout, error: ChildFailedError | None) -> BaseException:
    """Return what ended a worker: what it reported, or that it was killed, or left with its machine."""
    reported = json.loads(report.read_text()) if report.is_file() else {}
    if "error" in reported:
        return UserError(reported["error"])
    rank, failure = (None, None) if error is None else error.get_first_failure()
    if failure is not None and failure.exitcode < 0 and failure.exitcode != -signal.SIGINT:
        by = signal.Signals(-failure.exitcode).name
        return UserError(
            f"Process {rank} of {layout.size} was killed ({by}): for want of memory, if nobody did it.", AGAIN
        )
    # By somebody: where one was killed, the launcher interrupts the others, and that is said above.
    if "interrupted" in reported or (failure is not None and failure.exitcode < 0):
        return KeyboardInterrupt()
    bug: str = reported.get("bug", "")
    if layout.nodes > 1 and (not bug or any(sign in bug for sign in LOST)):
        return UserError("Another machine of this run does not answer any more.", f"Look at its messages. {AGAIN}")
    return RuntimeError(f"a process of this run failed:\n{bug}") if bug else cast("BaseException", error)


def _report_errors(worker: Worker, work: tuple[Any, ...], sharded: bool, report: str) -> None:
    """Run the worker in one process; write what ends it to `report`. The first process alone speaks."""
    processes: Processes = this_process(sharded)
    if not processes.first:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (for the life of the process)
    try:
        worker(*work, processes)
    except BaseException as error:
        if processes.first or not Path(report).exists():
            Path(report).write_text(json.dumps(_account_of(error)))
        raise


def _account_of(error: BaseException) -> dict[str, str]:
    if isinstance(error, UserError):
        return {"error": str(error)}
    if isinstance(error, KeyboardInterrupt):
        return {"interrupted": "yes"}
    return {"bug": traceback.format_exc()}
