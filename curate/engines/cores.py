"""How many cores a piece of work may take: all of the machine's; one inside a worker, beside its siblings."""

from __future__ import annotations

import os

from threadpoolctl import threadpool_limits

_state = {"worker": False}


def cores() -> int:
    """Return the cores that threads of this process may keep busy: those it is pinned to, where it is."""
    if _state["worker"]:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def become_worker() -> None:
    """Make this process one of several: one core, one BLAS thread, no threads in tokenizers."""
    if _state["worker"]:
        return
    _state["worker"] = True
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threadpool_limits(1)
