"""What the processes of one cell use: CPU time, memory, threads, and how long none of them had anything to do."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

JUDGE_FACTOR = 2  # of a program's CPU seconds, for its judge, which may have to load what the test imports


class Usage:
    """Counts what program and judge use, against the limits."""

    def __init__(self, proc: int, limits: dict[str, Any], *, guarded: bool) -> None:
        self.proc = proc
        self.limits = limits
        self.guarded = guarded
        self.candidate = self.judge = 0
        self.cpu: dict[int, float] = {}
        self.busy: dict[str, float] = {}
        self.idle = 0.0
        self.looked = time.monotonic()
        self.peak_bytes = 0
        self.alive: list[int] = []

    def processes(self) -> list[int]:
        if self.guarded:
            return [int(name) for name in os.listdir(self.proc) if name.isdigit() and name != "1"]
        processes, queue = [], [self.candidate, self.judge]
        while queue:
            process = queue.pop()
            processes.append(process)
            try:
                queue += [int(c) for c in self._read(f"{process}/task/{process}/children").split()]
            except OSError:
                continue
        return processes

    def threads(self) -> int:
        """Return how many threads there are beside the first one of each process."""
        count = 0
        for process in self.processes():
            try:
                count += int(self._read(f"{process}/stat").rsplit(b")", 1)[1].split()[17]) - 1
            except (OSError, IndexError, ValueError):
                continue
        return count

    def _read(self, name: str) -> bytes:
        fd = os.open(name, os.O_RDONLY, dir_fd=self.proc)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)

    def over_limit(self, now: float, output_bytes: int) -> tuple[str, str] | None:
        resident = 0
        self.alive = self.processes()
        for process in self.alive:
            try:
                self.cpu[process] = max(self.cpu.get(process, 0.0), time.clock_gettime(((~process) << 3) | 2))
                resident += int(self._read(f"{process}/statm").split()[1]) * 4096
            except (OSError, IndexError, ValueError):
                continue
        self.peak_bytes = max(self.peak_bytes, resident)
        judged = self.cpu.get(self.judge, 0.0)
        if sum(self.cpu.values()) - judged > self.limits["cpu_seconds"]:
            return "cpu_limit", ""
        if judged > JUDGE_FACTOR * self.limits["cpu_seconds"]:
            return "cpu_limit", "while judging"
        if resident > self.limits["memory_bytes"] and self._proportional() > self.limits["memory_bytes"]:
            return "memory_limit", ""
        if output_bytes > self.limits["output_bytes"]:
            return "output_limit", ""
        if self._idle_seconds(now) > self.limits["stall_seconds"]:
            return "stalled", ""
        return None

    def _idle_seconds(self, now: float) -> float:
        """Return how long nothing in the cell has run or waited for a CPU: on a busy machine a program only waits.

        The time that a task waited is known once it runs again, so that it is taken back from what was idle till then.
        """
        busy = 0.0
        for process in [*self.alive, os.getpid()]:
            busy += self._busy_seconds(process)
        self.idle = max(0.0, self.idle + (now - self.looked) - busy)
        self.looked = now
        return self.idle

    def _busy_seconds(self, process: int) -> float:
        """Return how long the tasks of a process have run or waited for a CPU since the last look."""
        new = 0.0
        try:
            tasks = os.listdir(fd := os.open(f"{process}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.proc))
            os.close(fd)
        except OSError:
            return 0.0
        for task in tasks:
            try:
                ran, waited, _ = self._read(f"{process}/task/{task}/schedstat").split()
            except (OSError, ValueError):
                continue
            total = (int(ran) + int(waited)) / 1e9
            new += total - self.busy.get(task, 0.0)
            self.busy[task] = total
        return new

    def _proportional(self) -> int:
        total = 0
        for process in self.alive:
            try:
                for line in self._read(f"{process}/smaps_rollup").split(b"\n"):
                    if line.startswith(b"Pss:"):
                        total += int(line.split()[1]) * 1024
            except OSError:
                # Not readable for a process that made itself undumpable: count all of it.
                try:
                    total += int(self._read(f"{process}/statm").split()[1]) * 4096
                except OSError:
                    continue
        return total
