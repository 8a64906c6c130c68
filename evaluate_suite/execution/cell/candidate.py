"""The process that runs the tested program and answers its judge's calls. Everything here may be taken over by it."""

from __future__ import annotations

import builtins
import os
import sys

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Server:
    """Answers one request after another on `fd` until the judge is gone."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.kept: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.space: dict[str, Any] = {}

    def keep(self, value: Any) -> wire.Reference:
        number = self.numbers.setdefault(id(value), len(self.kept))
        if number == len(self.kept):
            self.kept.append(value)
        kind = "iterator" if hasattr(value, "__next__") else "type" if isinstance(value, type) else type(value).__name__
        return wire.Reference(number, kind)

    def resolve(self, reference: wire.Reference) -> Any:
        return self.kept[reference.number]

    def serve(self) -> None:
        while True:
            operation, *arguments = wire.decode(wire.receive(self.fd), self.resolve)
            try:
                answer = ("ok", getattr(self, "do_" + operation)(*arguments))
                data = wire.encode(answer, self.keep)
            except BaseException as error:
                kinds = [kind.__name__ for kind in type(error).__mro__]
                plain = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else None
                try:
                    text = str(error)[:500]
                except BaseException:
                    text = ""
                data = wire.encode(("error", kinds, text, plain))
            wire.send(self.fd, data)

    def do_load(self, source: str, name: str, wanted: list[str]) -> dict[str, Any]:
        module = type(sys)(name)
        sys.modules[name] = module
        self.space = module.__dict__
        try:
            exec(compile(source, "<program>", "exec", dont_inherit=True), self.space)
            if name == "__main__":
                _end_as_a_script_does()
        finally:
            _flush()
        found = {}
        for name in wanted:
            if name in self.space:
                value = self.space[name]
                found[name] = ("module", name) if isinstance(value, type(sys)) else ("value", value)
        return found

    def do_call(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        result = function(*arguments, **keywords)
        # A function that returns nothing may have worked in place, so the judge gets its arguments back.
        changed = tuple(a if isinstance(a, (list, dict, set, bytearray)) else None for a in arguments)
        return (result, changed if result is None else ())

    def do_getattr(self, value: Any, name: str) -> Any:
        return getattr(value, name)

    def do_setattr(self, value: Any, name: str, new: Any) -> None:
        setattr(value, name, new)

    def do_getitem(self, value: Any, key: Any) -> Any:
        return value[key]

    def do_setitem(self, value: Any, key: Any, new: Any) -> None:
        value[key] = new

    def do_iter(self, value: Any) -> Any:
        return self.keep(iter(value))

    def do_next(self, value: Any) -> Any:
        try:
            return ("item", next(value))
        except StopIteration:
            return ("end", None)

    def do_eq(self, value: Any, other: Any) -> bool:
        return bool(value == other)

    def do_len(self, value: Any) -> int:
        return len(value)

    def do_str(self, value: Any) -> str:
        return str(value)

    def do_repr(self, value: Any) -> str:
        return repr(value)


def _end_as_a_script_does() -> None:
    """Wait for threads, then run what was registered for the end."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    if "atexit" in sys.modules:
        sys.modules["atexit"]._run_exitfuncs()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            continue


def main(fd: int, libraries: list[str]) -> None:
    """Serve requests on `fd` with a Python that looks as usual: `exit`, `quit` and the installed packages are there."""
    import _sitebuiltins

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
    sys.path[:] = [path for path in sys.path if not path.endswith("/execution")] + libraries
    sys.argv[:] = ["program.py"]
    try:
        Server(fd).serve()
    finally:
        _flush()
        os._exit(0)
