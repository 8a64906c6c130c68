"""Engines: who carries a step to the blocks of a pool. `local` has processes of this machine, `ray` a cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout

from curate.defaults import LOCAL, RAY
from curate.engines.local import LocalEngine
from curate.engines.ray_cluster import RayEngine
from curate.engines.ray_connection import connect_to_ray
from curate.engines.types import Engine
from curate.errors import UsageError, did_you_mean

ENGINES = (LOCAL, RAY)
__all__ = ["ENGINES", "LocalEngine", "RayEngine", "connect_to_ray", "open_engine"]


@contextmanager
def open_engine(name: str = LOCAL, ray_address: str | None = None) -> Iterator[Engine]:
    """Yield the engine of that name; its workers end with the block. `ray_address` is "auto" or HOST:PORT.

    In the block, what is printed goes to stderr under `ray`: Ray prints there which of its tasks it does again.
    """
    if name not in ENGINES:
        raise UsageError(f'Unknown --engine "{name}".', did_you_mean(name, ENGINES))
    if ray_address is not None and name != RAY:
        raise UsageError(f"--ray-address is for --engine {RAY}, and the engine is {name}.", "Leave it out.")
    with redirect_stdout(sys.stderr) if name == RAY else nullcontext():
        engine: Engine = LocalEngine() if name == LOCAL else RayEngine(ray_address)
        try:
            yield engine
        finally:
            engine.close()
