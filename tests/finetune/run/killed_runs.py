"""Kill runs with SIGKILL at chosen instants, let each go on, and print whether it ended as a run left alone.

    python -m tests.finetune.run.killed_runs SELECTION FOLDER COUNT SETTING...

An instant is the n-th time that a run opens, renames, copies or removes a file or folder of its own, or, for the last
quarter of the instants, a moment of the clock. COUNT of them are spread over the run; COUNT 0 takes every file event.
Runs are forks of this process, which has imported everything and computed nothing, so that each starts in no time.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.copyfile", "shutil.rmtree"}


def fork(work: Callable[[], int], kill_after: float | None = None) -> int:
    """Do `work` in a child; its exit code comes back, negative for a signal."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        try:
            code = work()
        except BaseException:
            code = 99
        os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def watch(folder: Path, on_event: Callable[[int], None]) -> None:
    """Call `on_event` with 1, 2, ... at every event on a file of `folder`, before it happens."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in EVENTS or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        count += 1
        on_event(count)

    sys.addaudithook(hook)


def main(selection: str, place: str, count: int, settings: list[str]) -> dict[str, Any]:
    """Where the killed runs differ from the whole one (nothing, when all is well), and what was tried."""
    import peft  # noqa: F401
    import trl  # noqa: F401

    import curate.tokens.tokenizers
    from curate.artifact import digest_file, write_text
    from curate.selection.record import read_selection
    from finetune.cli import main as finetune

    made = read_selection(selection).manifest.config
    tokenizer = curate.tokens.tokenizers.load_tokenizer(made["model"], made["tokenizer"])
    curate.tokens.tokenizers.load_tokenizer = lambda *_: tokenizer
    root = Path(place)

    def start(folder: Path) -> int:
        return finetune(["run", "--selection", selection, "--out", str(folder), "--track", "none", *settings])

    def resume(folder: Path) -> int:
        return finetune(["run", "--resume", str(folder), "--track", "none"])

    def result(folder: Path) -> list[str]:
        names = ("history.jsonl", "adapter/adapter_model.safetensors", "adapter/adapter_config.json", "config.yaml")
        return [digest_file(folder / name) if (folder / name).exists() else "absent" for name in names]

    def counted() -> int:
        total = 0

        def remember(n: int) -> None:
            nonlocal total
            total = n

        watch(root / "whole", remember)
        code = start(root / "whole")
        write_text(root / "events", str(total))
        return code

    started = time.perf_counter()
    assert fork(counted) == 0
    seconds = time.perf_counter() - started
    events = int((root / "events").read_text())
    expected = result(root / "whole")
    rng = random.Random(0)
    by_event = range(1, events + 1) if count == 0 else sorted(rng.sample(range(1, events + 1), count - count // 4))
    by_clock = [rng.uniform(0.3, 0.98) * seconds for _ in range(count // 4)]
    different: dict[str, Any] = {}

    def killed(instant: str, work: Callable[[Path], int], kill_after: float | None = None) -> None:
        folder = root / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        code = fork(lambda: work(folder), kill_after)
        unfinished = (folder / "config.yaml").exists()
        ended = fork(lambda: resume(folder) if unfinished else start(folder))
        found = result(folder)
        if code not in (0, -signal.SIGKILL) or ended != 0 or found != expected:
            different[instant] = {
                "killed": code,
                "resumed": ended,
                "equal": [a == b for a, b in zip(found, expected, strict=True)],
            }

    def die_at(number: int, folder: Path) -> int:
        watch(folder, lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == number else None)
        return start(folder)

    for number in by_event:
        killed(f"event {number}", lambda folder, number=number: die_at(number, folder))
    for after in by_clock:
        killed(f"{after:.2f} s", start, after)
    return {"events": events, "tried": len(by_event) + len(by_clock), "different": different}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])))
