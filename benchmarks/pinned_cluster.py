"""A Ray cluster of nodes of one core each on this machine, every node pinned to its own core (`taskset`)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_START_SECONDS = 120


class PinnedCluster:
    """`cores` names the core of every node. `kill_last` kills the last node and all that it started.

    Every node has an address of its own: a driver joins the node of its machine's, which is the first and never killed.
    """

    def __init__(self, cores: Sequence[int], port: int, folder: Path) -> None:
        self.address = f"127.0.0.1:{port}"
        self._environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
        head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}"]
        self.nodes = [self._start(cores[0], port + 10, head)]
        self._wait(port)
        self.nodes += [
            self._start(core, port + 10 * number, [f"--address={self.address}"], f"127.0.0.{number}")
            for number, core in enumerate(cores[1:], start=2)
        ]
        job = f"import ray, time; ray.init(address={self.address!r}, log_to_driver=False)\n"
        job += f"while sum(node['Alive'] for node in ray.nodes()) < {len(cores)}: time.sleep(0.5)"
        command = [sys.executable, "-c", job]
        subprocess.run(command, env=self._environment, timeout=_START_SECONDS, check=True, capture_output=True)

    def _start(self, core: int, port: int, arguments: list[str], ip: str = "127.0.0.1") -> subprocess.Popen[bytes]:
        command = ["taskset", "-c", str(core), sys.executable, "-m", "ray.scripts.scripts", "start", *arguments]
        command += [f"--node-ip-address={ip}", "--num-cpus=1", "--num-gpus=0", "--block", "--disable-usage-stats"]
        command += [f"--dashboard-agent-listen-port={port}", f"--metrics-export-port={port + 1}"]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _wait(self, port: int) -> None:
        for _ in range(2 * _START_SECONDS):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.5)
        raise SystemExit(f"Ray did not start on port {port} in {_START_SECONDS} seconds.")

    def kill_last(self) -> None:
        """Kill the last node as a machine that loses its power would."""
        _kill(self.nodes[-1].pid)

    def kill_last_after(self, seconds: float) -> threading.Timer:
        """Return a running timer that kills the last node."""
        timer = threading.Timer(seconds, self.kill_last)
        timer.start()
        return timer

    def close(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            _kill(node.pid)
            node.wait()


def tree(*roots: int) -> list[int]:
    """Return processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
        children.setdefault(int(parent), []).append(int(path.parent.name))
    found = list(roots)
    for pid in found:
        found += children.get(pid, [])
    return found


def _kill(pid: int) -> None:
    for each in tree(pid):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue
