"""What a test changes around the program that it calls: environment, standard streams, recursion limit, patched names.

In one process the program would see these changes; here each request brings along those that are new.
"""

from __future__ import annotations

import builtins
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALWAYS = [
    ("sys", "stdin"),
    ("sys", "stdout"),
    ("sys", "stderr"),
    *(("builtins", n) for n in ("input", "print", "open")),
]


class Mirror:
    """What the judge last told the program of its surroundings."""

    def __init__(self) -> None:
        self.environment = dict(_environment())
        self.owners: dict[str, Any] = {}
        self.settings = _settings()
        self.seeds: list[tuple[str, tuple[Any, ...]]] = []
        self.originals: dict[tuple[str, str], Any] = {}
        self.reported: dict[tuple[str, str], Any] = {}
        self._watch(_ALWAYS)

    def prepare(self, patched: list[tuple[str, str]], seeded: list[str]) -> None:
        """Watch what a test patches, by assignment or with `unittest.mock.patch`, and the seeds it sets."""
        self._watch(patched)
        for module in seeded:
            self._watch_seed(module)

    def _watch(self, names: list[tuple[str, str]]) -> None:
        for module, name in names:
            try:
                self.owners[module] = _module(module)
                self.originals.setdefault((module, name), getattr(self.owners[module], name))
            except (ImportError, AttributeError, ValueError):
                continue

    def _watch_seed(self, module: str) -> None:
        try:
            owner = _module(module)
        except ImportError:
            return
        original = owner.seed

        def seed(*arguments: Any) -> None:
            original(*arguments)
            self.seeds.append((module, arguments))

        owner.seed = seed

    def changes(self) -> tuple[Any, ...] | None:
        """Return what is new since the last request, None where nothing is."""
        environment = None
        if _environment() != self.environment:
            self.environment = dict(_environment())
            environment = dict(os.environ)
        settings = None
        if (set_now := _settings()) != self.settings:
            settings = self.settings = set_now
        patched = []
        for (module, name), original in self.originals.items():
            value = getattr(self.owners[module], name, original)
            if value is not self.reported.get((module, name), original):
                self.reported[module, name] = value
                patched.append((module, name, value is original, None if value is original else value))
        seeds, self.seeds = tuple(self.seeds), []
        if environment is None and settings is None and not patched and not seeds:
            return None
        return (environment, settings, tuple(patched), seeds)


def _environment() -> Any:
    """Return the environment as it is kept, which is not decoded anew for each look."""
    return os.environ._data  # type: ignore[attr-defined]


def _settings() -> tuple[Any, ...]:
    decimal = sys.modules.get("decimal")
    context = None if decimal is None else decimal.getcontext()
    return (
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        None if context is None else (context.prec, context.rounding),
    )


def _module(name: str) -> Any:
    if name == "builtins":
        return builtins
    __import__(name)
    return sys.modules[name]
