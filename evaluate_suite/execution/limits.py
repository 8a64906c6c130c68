"""What a tested program may use."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from curate.errors import UsageError

STALL_FACTOR = 20


@dataclass(frozen=True)
class Limits:
    """Limits of one program. CPU seconds are those of its whole process tree, so a busy machine changes no verdict.

    `stall_factor` times the CPU limit is the wall-clock backstop for programs that sleep (reason `stalled`).
    """

    cpu_seconds: float = 3.0
    memory_bytes: int = 1 << 30
    processes: int = 32
    threads: int = 256
    file_bytes: int = 16 << 20
    disk_bytes: int = 32 << 20
    files: int = 4096
    open_files: int = 64
    output_bytes: int = 16 << 20
    stall_factor: float = STALL_FACTOR

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 < value < math.inf:
                raise UsageError(f"{name} is {value}.", "Give a number above 0.")
        if self.stall_factor < STALL_FACTOR:
            raise UsageError(f"stall_factor is {self.stall_factor}.", f"Give at least {STALL_FACTOR}.")

    @property
    def stall_seconds(self) -> float:
        return self.cpu_seconds * self.stall_factor


DEFAULT_LIMITS = Limits()
