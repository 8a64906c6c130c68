"""Ctrl-C that ends the step and saves, instead of throwing the step away."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from curate.console import say

SAME_KEYPRESS_SECONDS = 1.0  # a launcher passes on what its workers have already got from the terminal


class Interrupt:
    """Inside the block SIGINT and SIGTERM only set `asked`; a second one, a second later, stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked and now - self._at > SAME_KEYPRESS_SECONDS:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._at = True, now
            say("Stopping after this step; a checkpoint will be written. Again to stop at once.")
