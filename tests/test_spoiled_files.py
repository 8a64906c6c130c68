"""Files of every kind of artifact, checkpoint and cache, spoiled: nothing is silently wrong, nothing a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def spoil(*options: str) -> dict[str, Any]:
    """What `benchmarks/faults_files.py` counts, run in a process that has used no threads: it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults_files", *options],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    counted: dict[str, Any] = json.loads(done.stdout)
    return counted


@pytest.mark.long
def test_a_fault_in_any_kind_of_file_is_named_or_made_good() -> None:
    counted = spoil("--each-kind")
    assert counted["bad"] == []
    assert counted["kinds spoiled"] == counted["kinds of files"] >= 35


@pytest.mark.long
def test_no_fault_of_many_is_silently_wrong_or_a_traceback() -> None:
    assert spoil("--faults", "20", "--seed", "1")["bad"] == []
