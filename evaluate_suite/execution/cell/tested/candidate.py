"""The process that runs the tested program and answers its judge's calls. Everything here may be taken over by it."""

from __future__ import annotations

import builtins
import os
import sys

from ..line import wire
from .ends import Ends

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROGRAM_FILE = "program.py"


class Server:
    """Answers one request after another on `fd` until the judge is gone."""

    def __init__(self, fd: int) -> None:
        self.ends = Ends(fd, self.handle)
        self.space: dict[str, Any] = {}
        self.loop: Any = None
        self.patched: dict[tuple[str, str], Any] = {}

    def serve(self) -> None:
        while True:
            self.handle(self.ends.receive())

    def handle(self, message: Any) -> None:
        """Do what a request asks and answer it."""
        _, operation, arguments, changes, unused, dropped = message
        del message
        if unused or dropped:
            self.ends.forget(unused, dropped)
        try:
            if changes is not None:
                self._take_over(changes)
            answer = ("ok", getattr(self, "do_" + operation)(*arguments))
            del arguments
            data = self.ends.pack(answer)
        except BaseException as error:
            self.ends.reserve = b""
            data = self.ends.error(error)
            error.__traceback__ = None
        wire.send(self.ends.fd, data)
        self.ends.refill()

    def _take_over(self, changes: Any) -> None:
        """Make the surroundings what the test has made of them."""
        environment, settings, patched, seeds = changes
        if environment is not None:
            os.environ.clear()
            os.environ.update(environment)
        if settings is not None:
            sys.setrecursionlimit(settings[0])
            sys.set_int_max_str_digits(settings[1])
            if settings[2] is not None:
                context = __import__("decimal").getcontext()
                context.prec, context.rounding = settings[2]
        for module, name, restored, value in patched:
            __import__(module)
            owner = sys.modules[module]
            original = self.patched.setdefault((module, name), getattr(owner, name, None))
            setattr(owner, name, original if restored else value)
        for module, arguments in seeds:
            __import__(module)
            sys.modules[module].seed(*arguments)

    def _run(self, source: str, name: str) -> None:
        module = type(sys)(name)
        sys.modules[name] = module
        self.space = module.__dict__
        self.space.update(__file__=PROGRAM_FILE, __loader__=Loader(source))
        try:
            exec(compile(source, PROGRAM_FILE, "exec", dont_inherit=True), self.space)
            if name == "__main__":
                _end_as_a_script_does()
        finally:
            _flush()

    def do_load(self, source: str, name: str, wanted: Any, shadowed: Any) -> tuple[Any, ...]:
        self._run(source, name)
        loaded = []
        for name in (*wanted, *shadowed):
            if name in self.space:
                value = self.space[name]
                module = isinstance(value, type(sys))
                loaded.append((name, ("module", getattr(value, "__name__", "")) if module else ("value", value)))
        return tuple(loaded)

    def do_together(self, source: str, test: str, entry_point: str, modules: Any) -> tuple[str, str]:
        self._run(source, "solution")
        for name, module in modules:
            if name not in self.space:
                try:
                    __import__(module)
                except ImportError:
                    continue
                self.space[name] = sys.modules[module]
        if entry_point and entry_point not in self.space:
            return "missing_entry_point", f"{entry_point} is not defined"
        try:
            exec(compile(test, "<test>", "exec", dont_inherit=True), self.space)
        except AssertionError as error:
            return "wrong_answer", str(error)[:300]
        except NameError as error:
            if error.name and error.name not in self.space:
                return "missing_entry_point", str(error)[:300]
            raise
        finally:
            _flush()
        return "passed", ""

    def do_call(self, function: Any, arguments: tuple[Any, ...], keywords: Any) -> Any:
        return function(*arguments, **keywords)

    def do_special(self, name: str, value: Any, *arguments: Any) -> Any:
        method = getattr(type(value), name)
        return method(value, *arguments)

    def do_getattr(self, value: Any, name: str) -> Any:
        return getattr(value, name)

    def do_setattr(self, value: Any, name: str, new: Any) -> None:
        setattr(value, name, new)

    def do_delattr(self, value: Any, name: str) -> None:
        delattr(value, name)

    def do_getitem(self, value: Any, key: Any) -> Any:
        return value[key]

    def do_iter(self, value: Any) -> Any:
        return self.ends.keep(iter(value))

    def do_next(self, value: Any) -> Any:
        try:
            return ("item", next(value))
        except StopIteration as end:
            return ("end", end.value)

    def do_send(self, value: Any, item: Any) -> Any:
        try:
            return ("item", value.send(item))
        except StopIteration as end:
            return ("end", end.value)

    def do_throw(self, value: Any, error: Any) -> Any:
        try:
            return ("item", value.throw(error))
        except StopIteration as end:
            return ("end", end.value)

    def do_close(self, value: Any) -> None:
        value.close()

    def do_await(self, value: Any) -> Any:
        import asyncio

        async def wait() -> Any:
            return await value

        if self.loop is None:
            self.loop = asyncio.new_event_loop()
        try:
            return ("item", self.loop.run_until_complete(wait()))
        except StopAsyncIteration:
            return ("end", None)

    def do_leave(self, value: Any, name: str, exception: tuple[Any, ...]) -> bool:
        left = getattr(type(value), name)(value, *exception)
        if name == "__aexit__":
            left = self.do_await(left)[1]
        return bool(left)

    def do_isinstance(self, value: Any, kind: Any) -> bool:
        return isinstance(value, kind)

    def do_repr(self, value: Any) -> str:
        return repr(value)

    def do_copy(self, value: Any) -> Any:
        import copy

        return copy.copy(value)

    def do_deepcopy(self, value: Any) -> Any:
        import copy

        return copy.deepcopy(value)

    def do_library(self, value: Any, module: str, name: str, arguments: Any, keywords: Any) -> Any:
        __import__(module)
        return getattr(sys.modules[module], name)(value, *arguments, **keywords)

    def do_signature(self, value: Any) -> Any:
        import inspect

        parameters = []
        for p in inspect.signature(value).parameters.values():
            more = [
                (key, part)
                for key, part in (("default", p.default), ("annotation", p.annotation))
                if part is not p.empty
            ]
            parameters.append((p.name, int(p.kind), tuple(more)))
        return tuple(parameters)


class Loader:
    """Gives the program's source to `inspect` and to tracebacks."""

    def __init__(self, source: str) -> None:
        self.source = source

    def get_source(self, name: str) -> str:
        return self.source


def _end_as_a_script_does() -> None:
    """Wait for threads, then run what was registered for the end."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            continue


def main(fd: int, libraries: list[str], home: str) -> None:
    """Serve requests on `fd` with a Python that looks as usual: `exit`, `quit` and the installed packages are there."""
    import _sitebuiltins

    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D")
    sys.path[:] = [path for path in sys.path if not path.endswith("/execution")] + libraries
    sys.argv[:] = [PROGRAM_FILE]
    os.environ["HOME"] = home
    try:
        Server(fd).serve()
    finally:
        _flush()
        os._exit(0)
