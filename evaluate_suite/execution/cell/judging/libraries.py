"""Functions of the standard library that look into an object: for one of the program's they are run there."""

from __future__ import annotations

import sys

from . import remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOOKING = {
    "dataclasses": ("asdict", "astuple", "replace", "fields", "is_dataclass"),
    "inspect": (
        "isgeneratorfunction", "isgenerator", "iscoroutinefunction", "iscoroutine", "isasyncgenfunction", "isfunction",
        "ismethod", "isclass", "isabstract", "isroutine", "getsource", "getsourcelines", "getdoc", "getfullargspec",
        "getmembers", "unwrap",
    ),
    "asyncio": ("iscoroutinefunction",),
    "typing": ("get_type_hints",),
}  # fmt: skip


def forward(modules: list[str]) -> None:
    """Replace these functions in the modules that a test imports."""
    for module in modules:
        __import__(module)
        for name in LOOKING[module]:
            original = getattr(sys.modules[module], name)
            setattr(sys.modules[module], name, _forwarding(module, name, original))


def _forwarding(module: str, name: str, original: Any) -> Any:
    def look(value: Any = None, *arguments: Any, **keywords: Any) -> Any:
        if remote.is_foreign(value):
            return remote.HERE.session.ask("library", value, module, name, arguments, keywords)
        return original(value, *arguments, **keywords)

    look.__name__ = name
    return look
